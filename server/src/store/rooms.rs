//! Rooms: boards, conversations, and each person's own room. Each change is written together with its events, which go
//! into the room's outbox.

use super::{
    ActingMember, Clock, Operation, Read, Sql, StoreError,
    entity::{
        Micros, direct_pair, member,
        room::{self, Column, Entity},
    },
    members::{self, has_rights},
    outbox::{self, OutboxEvent},
    room_change::{RoomError, admit, known, lock, transact},
    transaction::reading,
};
use chrono::{DateTime, Utc};
use roost_schema::{
    Body, ItemId, Kind, Op, Role, Room, RoomId, RoomState, RoomType, Title, UserId,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, SelectTwoRequired,
    sea_query::{Expr, OnConflict},
};
use serde::de::DeserializeOwned;

/// A new board or group.
#[derive(Clone, Debug)]
pub struct NewRoom {
    pub room_type: RoomType,
    pub title: Title,
    /// This person becomes the owner.
    pub creator: UserId,
    /// These people become editors.
    pub others: Vec<UserId>,
}

/// The right to change a room in this way, and the change. What is absent stays.
#[derive(Clone, Debug)]
pub struct RoomEdit {
    pub title: Option<Title>,
    pub archived: Option<bool>,
}

/// Rooms in the relational database.
#[derive(Clone, Debug)]
pub struct Rooms {
    sql: Sql,
    clock: Clock,
}

impl Rooms {
    pub(super) const fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    /// The answer of an operation that was done before.
    pub async fn known<T: DeserializeOwned>(
        &self,
        operation: &Operation,
    ) -> Result<Option<T>, RoomError> {
        known(&self.sql.read, operation).await
    }

    /// Makes a board or a group.
    pub async fn create(
        &self,
        operation: Option<&Operation>,
        new: &NewRoom,
    ) -> Result<Room, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            admit(transaction, new.creator, &new.others).await?;
            let room = Room {
                id: RoomId::generate(),
                room_type: new.room_type,
                title: Some(new.title.as_str().to_owned()),
                archived: false,
                role: Role::Owner,
                created_by: new.creator,
                created_at: now,
            };
            let others = new.others.iter().map(|other| (*other, Role::Editor));
            let members = std::iter::once((new.creator, Role::Owner)).chain(others);
            insert(transaction, &room, members).await?;
            Ok(room)
        })
        .await
    }

    /// The direct conversation of two people; creates it when there is none.
    pub async fn open_direct(
        &self,
        operation: Option<&Operation>,
        opener: UserId,
        other: UserId,
    ) -> Result<Room, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            let pair = pair(opener, other);
            if let Some(room) = room_of(transaction, pair).await? {
                let found = find(transaction, room, opener).await?;
                return found.ok_or(RoomError::NotMember);
            }
            admit(transaction, opener, &[other]).await?;
            let room = Room {
                id: RoomId::generate(),
                room_type: RoomType::Direct,
                title: None,
                archived: false,
                role: Role::Editor,
                created_by: opener,
                created_at: now,
            };
            let members = [(opener, Role::Editor), (other, Role::Editor)];
            insert(transaction, &room, members.into_iter()).await?;
            insert_pair(transaction, pair, room.id).await?;
            Ok(room)
        })
        .await
    }

    /// A room as one of its members sees it. `None` to all other people, and for a type that this release does not
    /// know.
    pub async fn find(&self, acting: ActingMember<Read>) -> Result<Option<Room>, StoreError> {
        reading(|| find(&self.sql.read, acting.room_id(), acting.user_id())).await
    }

    /// A page of a person's rooms of some types, newest first, after a place in that list.
    pub async fn list(
        &self,
        user: UserId,
        types: &[RoomType],
        before: Option<RoomId>,
        limit: u64,
    ) -> Result<Vec<Room>, StoreError> {
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let query = || {
            as_member(user)
                .filter(Column::RoomType.is_in(types.iter().map(|known| known.as_str())))
                .apply_if(before, |query, room| {
                    query.filter(member::Column::RoomId.lt(room.as_uuid()))
                })
                .order_by_desc(member::Column::RoomId)
                .limit(limit)
        };
        let rows = reading(|| query().all(&self.sql.read)).await?;
        rows.into_iter().map(room).collect()
    }

    /// The ids of the rooms in which a person has rights, their own room included, in ascending order from `first` on.
    pub async fn list_ids(
        &self,
        user: UserId,
        first: Option<RoomId>,
        limit: usize,
    ) -> Result<Vec<RoomId>, StoreError> {
        let query = || {
            member::Entity::find()
                .select_only()
                .column(member::Column::RoomId)
                .filter(member::Column::UserId.eq(user.as_uuid()))
                .filter(has_rights())
                .apply_if(first, |query, room| {
                    query.filter(member::Column::RoomId.gte(room.as_uuid()))
                })
                .order_by_asc(member::Column::RoomId)
                .limit(u64::try_from(limit).unwrap_or(u64::MAX))
                .into_tuple()
        };
        let ids = reading(|| query().all(&self.sql.read)).await?;
        Ok(ids.into_iter().map(RoomId::from_uuid).collect())
    }

    /// Changes a room's title, archives the room, or takes it out of the archive. An archived room's title cannot be
    /// changed.
    pub async fn change(
        &self,
        acting: ActingMember<RoomEdit>,
        operation: Option<&Operation>,
    ) -> Result<Room, RoomError> {
        let acting = &acting;
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            let before = lock(transaction, acting).await?;
            let mut room = before.clone();
            let edit = acting.right();
            room.archived = edit.archived.unwrap_or(before.archived);
            if let Some(title) = &edit.title {
                room.title = Some(title.as_str().to_owned());
            }
            if room.title != before.title && room.archived && before.archived {
                return Err(RoomError::Archived);
            }
            if room != before {
                update(transaction, &room).await?;
                outbox::push_locked(transaction, &room_event(&room, acting.user_id())?).await?;
            }
            Ok(room)
        })
        .await
    }
}

/// Creates a person's own room, in the transaction that creates the person. The person is its only member, as a viewer.
pub(super) async fn create_personal(
    transaction: &DatabaseTransaction,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let room = Room {
        id: RoomId::of_user(user),
        room_type: RoomType::Personal,
        title: None,
        archived: false,
        role: Role::Viewer,
        created_by: user,
        created_at: now,
    };
    insert(transaction, &room, std::iter::once((user, Role::Viewer))).await
}

async fn insert(
    transaction: &DatabaseTransaction,
    room: &Room,
    members: impl Iterator<Item = (UserId, Role)>,
) -> Result<(), StoreError> {
    let row = room::ActiveModel {
        id: Set(room.id.as_uuid()),
        room_type: Set(room.room_type.as_str().to_owned()),
        title: Set(room.title.clone()),
        archived: Set(room.archived),
        created_by: Set(room.created_by.as_uuid()),
        created_us: Set(Micros(room.created_at)),
    };
    Entity::insert(row)
        .exec_without_returning(transaction)
        .await?;
    outbox::push_locked(transaction, &room_event(room, room.created_by)?).await?;
    for (user, role) in members {
        members::insert(transaction, room.id, user, role, room.created_at).await?;
        let event = members::put_event(room.id, user, role, room.created_by)?;
        outbox::push_locked(transaction, &event).await?;
    }
    Ok(())
}

async fn update(transaction: &DatabaseTransaction, room: &Room) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::Title, Expr::value(room.title.clone()))
        .col_expr(Column::Archived, Expr::value(room.archived))
        .filter(Column::Id.eq(room.id.as_uuid()))
        .exec(transaction)
        .await?;
    Ok(())
}

/// The pair of two people, the same from either side.
fn pair(one: UserId, other: UserId) -> (UserId, UserId) {
    (one.min(other), one.max(other))
}

/// Stores the pair of a new conversation. When two opened it at the same moment, the second transaction is repeated and
/// finds the first's conversation.
async fn insert_pair(
    transaction: &DatabaseTransaction,
    (low, high): (UserId, UserId),
    room: RoomId,
) -> Result<(), StoreError> {
    let row = direct_pair::ActiveModel {
        low: Set(low.as_uuid()),
        high: Set(high.as_uuid()),
        room_id: Set(room.as_uuid()),
    };
    let inserted = direct_pair::Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(transaction)
        .await?;
    if inserted == 0 {
        return Err(StoreError::Contended(anyhow::anyhow!(
            "the other one opened the conversation at the same moment"
        )));
    }
    Ok(())
}

/// The rooms in which a person has rights.
fn as_member(user: UserId) -> SelectTwoRequired<member::Entity, Entity> {
    member::Entity::find()
        .find_both_related(Entity)
        .filter(member::Column::UserId.eq(user.as_uuid()))
        .filter(has_rights())
}

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    id: RoomId,
    user: UserId,
) -> Result<Option<Room>, StoreError> {
    let row = as_member(user)
        .filter(member::Column::RoomId.eq(id.as_uuid()))
        .filter(Column::RoomType.is_in(RoomType::ALL.map(RoomType::as_str)))
        .one(connection)
        .await?;
    row.map(room).transpose()
}

/// The existing conversation of two people.
async fn room_of(
    transaction: &DatabaseTransaction,
    (low, high): (UserId, UserId),
) -> Result<Option<RoomId>, StoreError> {
    let row = direct_pair::Entity::find_by_id((low.as_uuid(), high.as_uuid()))
        .one(transaction)
        .await?;
    Ok(row.map(|row| RoomId::from_uuid(row.room_id)))
}

fn room((member, row): (member::Model, room::Model)) -> Result<Room, StoreError> {
    let known = |known: &RoomType| known.as_str() == row.room_type;
    let room_type = RoomType::ALL
        .into_iter()
        .find(known)
        .ok_or_else(|| StoreError::unreadable(anyhow::anyhow!("room type {:?}", row.room_type)))?;
    Ok(Room {
        id: RoomId::from_uuid(row.id),
        room_type,
        title: row.title,
        archived: row.archived,
        role: members::role(&member.role)?,
        created_by: UserId::from_uuid(row.created_by),
        created_at: row.created_us.0,
    })
}

fn room_event(room: &Room, actor: UserId) -> Result<OutboxEvent, StoreError> {
    let state = RoomState {
        room_id: room.id,
        room_type: room.room_type,
        title: room.title.clone(),
        archived: room.archived,
    };
    Ok(OutboxEvent {
        room: room.id,
        item: ItemId::of_room(room.id),
        kind: Kind::Room,
        op: Op::Put,
        body: Body::encode(&state).map_err(StoreError::unreadable)?,
        actor,
    })
}
