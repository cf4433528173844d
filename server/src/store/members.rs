//! Who belongs to a room, and in which role. Each change locks the room's row and writes the change's event.

use super::{
    ActingMember, Clock, ManageMembers, Operation, Read, Sql, StoreError,
    entity::{
        Micros,
        member::{self, Column, Entity},
        user,
    },
    outbox::{self, OutboxEvent},
    room_change::{RoomError, admit, lock, transact},
    transaction::reading,
};
use chrono::{DateTime, Utc};
use roost_schema::{
    Body, Email, ItemId, Kind, Member, MemberState, Op, Role, Room, RoomId, UserId,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select, sea_query::Expr,
};
use uuid::Uuid;

/// How many members a room may have.
pub const MEMBERS_PER_ROOM_MAX: u64 = 1_000;

/// The person to invite, by exact address or by id.
#[derive(Clone, Debug)]
pub enum Invitee {
    Address(Email),
    Person(UserId),
}

/// The right to end the membership of one person, and who it is.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    pub member: UserId,
}

/// The place of a member in the list, which is ordered newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberKey {
    pub joined_us: i64,
    pub user_id: UserId,
}

/// Members in the relational database.
#[derive(Clone, Debug)]
pub struct Members {
    sql: Sql,
    clock: Clock,
}

impl Members {
    pub(super) const fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    /// A page of a room's members, newest first, after a place in that list. Members whose role this release does not
    /// know have no rights here and are left out.
    pub async fn list(
        &self,
        acting: ActingMember<Read>,
        after: Option<MemberKey>,
        limit: u64,
    ) -> Result<Vec<Member>, StoreError> {
        let query = || {
            with_names()
                .filter(Column::RoomId.eq(acting.room_id().as_uuid()))
                .apply_if(after, |query, key| query.filter(is_after(key)))
                .order_by_desc(Column::JoinedUs)
                .order_by_desc(Column::UserId)
                .limit(limit)
                .into_tuple()
        };
        let rows = reading(|| query().all(&self.sql.read)).await?;
        rows.into_iter().map(member).collect()
    }

    /// Makes a person a member. An archived room takes none.
    pub async fn invite(
        &self,
        acting: ActingMember<ManageMembers>,
        operation: Option<&Operation>,
        invitee: &Invitee,
        role: Role,
    ) -> Result<Member, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            refuse_archived(&lock(transaction, &acting).await?)?;
            let user = user_id(transaction, invitee).await?;
            if role_in(transaction, acting.room_id(), user)
                .await?
                .is_some()
            {
                return Err(RoomError::AlreadyMember);
            }
            if of_room(acting.room_id()).count(transaction).await? >= MEMBERS_PER_ROOM_MAX {
                return Err(RoomError::RoomFull);
            }
            admit(transaction, user, &[]).await?;
            insert(transaction, acting.room_id(), user, role, now).await?;
            let event = put_event(acting.room_id(), user, role, acting.user_id())?;
            outbox::push_locked(transaction, &event).await?;
            find(transaction, acting.room_id(), user)
                .await?
                .ok_or(RoomError::NotMember)
        })
        .await
    }

    /// Gives a member another role, unless the room is archived. The last owner of a room cannot lose the role.
    pub async fn change_role(
        &self,
        acting: ActingMember<ManageMembers>,
        operation: Option<&Operation>,
        user: UserId,
        role: Role,
    ) -> Result<Member, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            refuse_archived(&lock(transaction, &acting).await?)?;
            let before = role_in(transaction, acting.room_id(), user)
                .await?
                .ok_or(RoomError::NotMember)?;
            if before != role.as_str() {
                keep_an_owner(transaction, acting.room_id(), &before).await?;
                update(transaction, acting.room_id(), user, role).await?;
                let event = put_event(acting.room_id(), user, role, acting.user_id())?;
                outbox::push_locked(transaction, &event).await?;
            }
            find(transaction, acting.room_id(), user)
                .await?
                .ok_or(RoomError::NotMember)
        })
        .await
    }

    /// Ends a membership, also in an archived room. The last owner of a room cannot leave.
    pub async fn remove(
        &self,
        acting: ActingMember<Removal>,
        operation: Option<&Operation>,
    ) -> Result<(), RoomError> {
        let user = acting.right().member;
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            lock(transaction, &acting).await?;
            let role = role_in(transaction, acting.room_id(), user)
                .await?
                .ok_or(RoomError::NotMember)?;
            keep_an_owner(transaction, acting.room_id(), &role).await?;
            delete(transaction, acting.room_id(), user).await?;
            let event = delete_event(acting.room_id(), user, acting.user_id());
            outbox::push_locked(transaction, &event).await?;
            Ok(())
        })
        .await
    }
}

fn refuse_archived(room: &Room) -> Result<(), RoomError> {
    if room.archived {
        return Err(RoomError::Archived);
    }
    Ok(())
}

pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
    role: Role,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = member::ActiveModel {
        room_id: Set(room.as_uuid()),
        user_id: Set(user.as_uuid()),
        role: Set(role.as_str().to_owned()),
        joined_us: Set(Micros(now)),
    };
    Entity::insert(row)
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}

/// The event of a person who became a member, or got another role.
pub(super) fn put_event(
    room: RoomId,
    user: UserId,
    role: Role,
    actor: UserId,
) -> Result<OutboxEvent, StoreError> {
    let state = MemberState {
        room_id: room,
        user_id: user,
        role,
    };
    Ok(OutboxEvent {
        room,
        item: ItemId::of_member(user),
        kind: Kind::Member,
        op: Op::Put,
        body: Body::encode(&state).map_err(StoreError::unreadable)?,
        actor,
    })
}

/// The condition that a member's role gives rights in this release.
pub(super) fn has_rights() -> Expr {
    Column::Role.is_in(Role::ALL.map(Role::as_str))
}

/// Parses the role of a member who has rights.
pub(super) fn role(kept: &str) -> Result<Role, StoreError> {
    Role::ALL
        .into_iter()
        .find(|role| role.as_str() == kept)
        .ok_or_else(|| StoreError::unreadable(anyhow::anyhow!("role {kept:?}")))
}

/// The role of a person in a room as it is stored; it may be a role of a later release.
async fn role_in(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
) -> Result<Option<String>, StoreError> {
    let row = Entity::find_by_id((room.as_uuid(), user.as_uuid()))
        .one(transaction)
        .await?;
    Ok(row.map(|row| row.role))
}

fn delete_event(room: RoomId, user: UserId, actor: UserId) -> OutboxEvent {
    OutboxEvent {
        room,
        item: ItemId::of_member(user),
        kind: Kind::Member,
        op: Op::Delete,
        body: Body::null(),
        actor,
    }
}

async fn user_id(
    transaction: &DatabaseTransaction,
    invitee: &Invitee,
) -> Result<UserId, RoomError> {
    let email = match invitee {
        Invitee::Person(user) => return Ok(*user),
        Invitee::Address(email) => email,
    };
    let id = user::Entity::find()
        .select_only()
        .column(user::Column::Id)
        .filter(user::Column::Email.eq(email.as_str()))
        .into_tuple()
        .one(transaction)
        .await?;
    id.map(UserId::from_uuid).ok_or(RoomError::UnknownPerson)
}

/// Refuses to take away the last owner. Called under the room's lock, so that two owners who leave at once are judged
/// one after the other.
async fn keep_an_owner(
    transaction: &DatabaseTransaction,
    room: RoomId,
    role: &str,
) -> Result<(), RoomError> {
    if role != Role::Owner.as_str() {
        return Ok(());
    }
    let owners = of_room(room).filter(Column::Role.eq(role));
    match owners.count(transaction).await? {
        0 | 1 => Err(RoomError::LastOwner),
        _ => Ok(()),
    }
}

async fn update(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
    role: Role,
) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::Role, Expr::value(role.as_str()))
        .filter(Column::RoomId.eq(room.as_uuid()))
        .filter(Column::UserId.eq(user.as_uuid()))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn delete(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
) -> Result<(), StoreError> {
    Entity::delete_by_id((room.as_uuid(), user.as_uuid()))
        .exec(transaction)
        .await?;
    Ok(())
}

fn of_room(room: RoomId) -> Select<Entity> {
    Entity::find().filter(Column::RoomId.eq(room.as_uuid()))
}

/// The members who have rights in this release, with the columns that [`member`] reads.
fn with_names() -> Select<Entity> {
    Entity::find()
        .inner_join(user::Entity)
        .select_only()
        .column(Column::UserId)
        .column(user::Column::Name)
        .columns([Column::Role, Column::JoinedUs])
        .filter(has_rights())
}

/// The condition to come after a place, as a comparison of rows: so the list's index finds the place.
fn is_after(key: MemberKey) -> Expr {
    let place = [Column::JoinedUs, Column::UserId].map(ColumnTrait::into_expr);
    let other = [
        Expr::value(key.joined_us),
        Expr::value(key.user_id.as_uuid()),
    ];
    Expr::tuple(place).lt(Expr::tuple(other))
}

async fn find(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
) -> Result<Option<Member>, StoreError> {
    let row = with_names()
        .filter(Column::RoomId.eq(room.as_uuid()))
        .filter(Column::UserId.eq(user.as_uuid()))
        .into_tuple()
        .one(transaction)
        .await?;
    row.map(member).transpose()
}

fn member(
    (user, name, kept_role, joined): (Uuid, String, String, Micros),
) -> Result<Member, StoreError> {
    Ok(Member {
        user_id: UserId::from_uuid(user),
        name,
        role: role(&kept_role)?,
        joined_at: joined.0,
    })
}
