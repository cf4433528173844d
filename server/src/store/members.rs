//! Who belongs to a room, and as what. Every change is made under the lock of the room's row,
//! together with its event.

use super::{
    Clock, Operation, Sql, StoreError,
    outbox::{self, OutboxEvent},
    room_change::{ActingMember, RoomError, admit, lock, transact},
    transaction::{execute, statement, time},
};
use chrono::{DateTime, Utc};
use roost_schema::{Body, Email, ItemId, Kind, Member, MemberState, Op, Role, RoomId, UserId};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult};
use uuid::Uuid;

/// How many members a room may have.
pub const MEMBERS_PER_ROOM_MAX: i64 = 1_000;

/// Who is invited: by exact address, or by id.
#[derive(Clone, Debug)]
pub enum Invitee {
    Address(Email),
    Person(UserId),
}

/// The place of a member in the list, newest first.
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

    /// A room's members, newest first, those after a place in that list. Whoever has a role of another release has no
    /// rights here, and is not listed.
    pub async fn list(
        &self,
        room: RoomId,
        after: Option<MemberKey>,
        limit: u64,
    ) -> Result<Vec<Member>, StoreError> {
        let after = after.unwrap_or(MemberKey {
            joined_us: i64::MAX,
            user_id: UserId::from_uuid(Uuid::max()),
        });
        let sql = format!(
            "{SELECT_MEMBER} WHERE m.room_id = $1 AND (m.joined_us, m.user_id) < ($2, $3) AND {HAS_RIGHTS}
             ORDER BY m.joined_us DESC, m.user_id DESC LIMIT $4"
        );
        let values = [
            room.as_uuid().into(),
            after.joined_us.into(),
            after.user_id.as_uuid().into(),
            limit.cast_signed().into(),
        ];
        let query = statement(&self.sql.read, &sql, values);
        let rows = self.sql.read_all(query).await?;
        rows.iter().map(member).collect()
    }

    /// Makes a person a member.
    pub async fn invite(
        &self,
        acting: ActingMember,
        operation: Option<&Operation>,
        invitee: &Invitee,
        role: Role,
    ) -> Result<Member, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            lock(transaction, acting).await?;
            let user = user_id(transaction, invitee).await?;
            if role_in(transaction, acting.room_id, user).await?.is_some() {
                return Err(RoomError::AlreadyMember);
            }
            if count(transaction, acting.room_id).await? >= MEMBERS_PER_ROOM_MAX {
                return Err(RoomError::RoomFull);
            }
            admit(transaction, user, &[]).await?;
            insert(transaction, acting.room_id, user, role, now).await?;
            let event = put_event(acting.room_id, user, role, acting.user_id)?;
            outbox::push_locked(transaction, &event).await?;
            find(transaction, acting.room_id, user)
                .await?
                .ok_or(RoomError::NotMember)
        })
        .await
    }

    /// Gives a member another role. The last owner stays one.
    pub async fn change_role(
        &self,
        acting: ActingMember,
        operation: Option<&Operation>,
        user: UserId,
        role: Role,
    ) -> Result<Member, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            lock(transaction, acting).await?;
            let before = role_in(transaction, acting.room_id, user)
                .await?
                .ok_or(RoomError::NotMember)?;
            if before != role.as_str() {
                keep_an_owner(transaction, acting.room_id, &before).await?;
                update(transaction, acting.room_id, user, role).await?;
                let event = put_event(acting.room_id, user, role, acting.user_id)?;
                outbox::push_locked(transaction, &event).await?;
            }
            find(transaction, acting.room_id, user)
                .await?
                .ok_or(RoomError::NotMember)
        })
        .await
    }

    /// Ends a membership. The last owner's never ends.
    pub async fn remove(
        &self,
        acting: ActingMember,
        operation: Option<&Operation>,
        user: UserId,
    ) -> Result<(), RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            lock(transaction, acting).await?;
            let role = role_in(transaction, acting.room_id, user)
                .await?
                .ok_or(RoomError::NotMember)?;
            keep_an_owner(transaction, acting.room_id, &role).await?;
            delete(transaction, acting.room_id, user).await?;
            let event = delete_event(acting.room_id, user, acting.user_id);
            outbox::push_locked(transaction, &event).await?;
            Ok(())
        })
        .await
    }
}

pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
    role: Role,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "INSERT INTO members (room_id, user_id, role, joined_us) VALUES ($1, $2, $3, $4)",
        [
            room.as_uuid().into(),
            user.as_uuid().into(),
            role.as_str().into(),
            now.timestamp_micros().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Tells that a person is a member now, or is one in another role.
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

/// Whether a member `m` has a role that gives rights in this release.
pub(super) const HAS_RIGHTS: &str = "m.role IN ('owner', 'editor', 'commenter', 'viewer')";

/// Reads the column `role` of one who has rights.
pub(super) fn role(row: &QueryResult) -> Result<Role, StoreError> {
    let kept: String = row.try_get("", "role")?;
    Role::ALL
        .into_iter()
        .find(|role| role.as_str() == kept)
        .ok_or_else(|| StoreError::unreadable(anyhow::anyhow!("role {kept:?}")))
}

/// What a person is in a room, also in a word of another release.
async fn role_in(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT role FROM members WHERE room_id = $1 AND user_id = $2";
    let values = [room.as_uuid().into(), user.as_uuid().into()];
    let query = statement(transaction, sql, values);
    let row = transaction.query_one_raw(query).await?;
    row.map(|row| Ok(row.try_get("", "role")?)).transpose()
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
    let sql = "SELECT id FROM users WHERE email = $1";
    let query = statement(transaction, sql, [email.as_str().into()]);
    let row = transaction.query_one_raw(query).await?;
    let row = row.ok_or(RoomError::UnknownPerson)?;
    Ok(UserId::from_uuid(row.try_get("", "id")?))
}

/// Called under the room's lock, before a member of this role goes or becomes less: so two owners
/// who leave at once are judged one after the other.
async fn keep_an_owner(
    transaction: &DatabaseTransaction,
    room: RoomId,
    role: &str,
) -> Result<(), RoomError> {
    if role != Role::Owner.as_str() {
        return Ok(());
    }
    let sql = "SELECT count(*) AS count FROM members WHERE room_id = $1 AND role = 'owner'";
    match counted(transaction, sql, room).await? {
        0 | 1 => Err(RoomError::LastOwner),
        _ => Ok(()),
    }
}

async fn count(transaction: &DatabaseTransaction, room: RoomId) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) AS count FROM members WHERE room_id = $1";
    counted(transaction, sql, room).await
}

async fn counted(
    transaction: &DatabaseTransaction,
    sql: &str,
    room: RoomId,
) -> Result<i64, StoreError> {
    let query = statement(transaction, sql, [room.as_uuid().into()]);
    match transaction.query_one_raw(query).await? {
        Some(row) => Ok(row.try_get("", "count")?),
        None => Ok(0),
    }
}

async fn update(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
    role: Role,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "UPDATE members SET role = $3 WHERE room_id = $1 AND user_id = $2",
        [
            room.as_uuid().into(),
            user.as_uuid().into(),
            role.as_str().into(),
        ],
    )
    .await?;
    Ok(())
}

async fn delete(
    transaction: &DatabaseTransaction,
    room: RoomId,
    user: UserId,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "DELETE FROM members WHERE room_id = $1 AND user_id = $2",
        [room.as_uuid().into(), user.as_uuid().into()],
    )
    .await?;
    Ok(())
}

const SELECT_MEMBER: &str = "SELECT m.user_id, u.name, m.role, m.joined_us \
    FROM members m JOIN users u ON u.id = m.user_id";

async fn find(
    connection: &impl ConnectionTrait,
    room: RoomId,
    user: UserId,
) -> Result<Option<Member>, StoreError> {
    let sql = format!("{SELECT_MEMBER} WHERE m.room_id = $1 AND m.user_id = $2 AND {HAS_RIGHTS}");
    let values = [room.as_uuid().into(), user.as_uuid().into()];
    let query = statement(connection, &sql, values);
    let row = connection.query_one_raw(query).await?;
    row.as_ref().map(member).transpose()
}

fn member(row: &QueryResult) -> Result<Member, StoreError> {
    Ok(Member {
        user_id: UserId::from_uuid(row.try_get("", "user_id")?),
        name: row.try_get("", "name")?,
        role: role(row)?,
        joined_at: time(row, "joined_us")?,
    })
}
