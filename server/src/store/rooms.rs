//! Rooms: boards, conversations, and each person's own. Every change is written together with the
//! events that tell it, in the room's outbox.

use super::{
    Clock, Operation, Sql, StoreError, members,
    outbox::{self, OutboxEvent},
    room_change::{ActingMember, RoomError, admit, known, lock, transact},
    transaction::{execute, statement, time},
};
use chrono::{DateTime, Utc};
use roost_schema::{
    Body, ItemId, Kind, Op, Role, Room, RoomId, RoomState, RoomType, Title, UserId,
};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult};
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// What a board or a group begins as.
#[derive(Clone, Debug)]
pub struct NewRoom {
    pub room_type: RoomType,
    pub title: Title,
    /// Becomes the owner.
    pub creator: UserId,
    /// Become editors.
    pub others: Vec<UserId>,
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

    /// What an operation answered when it was done before.
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

    /// The direct conversation of two people; made when they have none.
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
            if is_pair(transaction, pair).await? {
                let found = find_direct(transaction, pair, opener).await?;
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

    /// A room as one of its members sees it; `None` to everybody else, and of a type that this release does not know.
    pub async fn find(&self, room: RoomId, user: UserId) -> Result<Option<Room>, StoreError> {
        find(&self.sql.read, room, user).await
    }

    /// A person's rooms of some types, newest first, those made before one of them.
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
        // The names of types are ours; nothing a client sent becomes part of the statement.
        let types: Vec<String> = types.iter().map(|t| format!("'{}'", t.as_str())).collect();
        let sql = format!(
            "{SELECT_ROOM} WHERE m.user_id = $1 AND m.room_id < $2 AND {HAS_RIGHTS} AND r.type IN ({})
             ORDER BY m.room_id DESC LIMIT $3",
            types.join(", ")
        );
        let before = before.map_or(Uuid::max(), |room| room.as_uuid());
        let values = [
            user.as_uuid().into(),
            before.into(),
            limit.cast_signed().into(),
        ];
        let query = statement(&self.sql.read, &sql, values);
        let rows = self.sql.read_all(query).await?;
        rows.iter().map(room).collect()
    }

    /// The rooms in which a person has rights, their own included, by id from one on.
    pub async fn list_ids(
        &self,
        user: UserId,
        first: Option<RoomId>,
        limit: usize,
    ) -> Result<Vec<RoomId>, StoreError> {
        let sql = format!(
            "SELECT m.room_id FROM members AS m WHERE m.user_id = $1 AND m.room_id >= $2
             AND {HAS_RIGHTS} ORDER BY m.room_id LIMIT $3"
        );
        let first = first.map_or(Uuid::nil(), |room| room.as_uuid());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [user.as_uuid().into(), first.into(), limit.into()];
        let query = statement(&self.sql.read, &sql, values);
        let rows = self.sql.read_all(query).await?;
        let id = |row: &QueryResult| Ok(RoomId::from_uuid(row.try_get("", "room_id")?));
        rows.iter().map(id).collect()
    }

    /// Gives a room another title, or archives it, or takes it out of the archive. An archived
    /// room takes no other title.
    pub async fn change(
        &self,
        acting: ActingMember,
        operation: Option<&Operation>,
        title: Option<&Title>,
        archived: Option<bool>,
    ) -> Result<Room, RoomError> {
        let now = self.clock.now();
        transact(&self.sql, operation, now, |transaction| async move {
            let transaction = &*transaction;
            let before = lock(transaction, acting).await?;
            let mut room = before.clone();
            room.archived = archived.unwrap_or(before.archived);
            if let Some(title) = title {
                room.title = Some(title.as_str().to_owned());
            }
            if room.title != before.title && room.archived && before.archived {
                return Err(RoomError::Archived);
            }
            if room != before {
                update(transaction, &room).await?;
                outbox::push_locked(transaction, &room_event(&room, acting.user_id)?).await?;
            }
            Ok(room)
        })
        .await
    }
}

/// Makes a person's own room, in the transaction that makes the person. Its one member reads it.
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
    execute(
        transaction,
        "INSERT INTO rooms (id, type, title, archived, created_by, created_us)
         VALUES ($1, $2, $3, $4, $5, $6)",
        [
            room.id.as_uuid().into(),
            room.room_type.as_str().into(),
            room.title.clone().into(),
            room.archived.into(),
            room.created_by.as_uuid().into(),
            room.created_at.timestamp_micros().into(),
        ],
    )
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
    execute(
        transaction,
        "UPDATE rooms SET title = $2, archived = $3 WHERE id = $1",
        [
            room.id.as_uuid().into(),
            room.title.clone().into(),
            room.archived.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The same two people from either side.
fn pair(one: UserId, other: UserId) -> (UserId, UserId) {
    (one.min(other), one.max(other))
}

/// When the two opened it at the same moment, the second is run again and finds the first's.
async fn insert_pair(
    transaction: &DatabaseTransaction,
    (low, high): (UserId, UserId),
    room: RoomId,
) -> Result<(), StoreError> {
    let inserted = execute(
        transaction,
        "INSERT INTO direct_pairs (low, high, room_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [
            low.as_uuid().into(),
            high.as_uuid().into(),
            room.as_uuid().into(),
        ],
    )
    .await?;
    if inserted == 0 {
        return Err(StoreError::Contended(anyhow::anyhow!(
            "the other one opened the conversation at the same moment"
        )));
    }
    Ok(())
}

/// Whether a member `m` has a role that gives rights in this release.
const HAS_RIGHTS: &str = "m.role IN ('owner', 'editor', 'commenter', 'viewer')";

/// Whether a room `r` is of a type that this release serves.
const IS_KNOWN: &str = "r.type IN ('board', 'direct', 'group', 'personal')";

const SELECT_ROOM: &str = "SELECT r.id, r.type, r.title, r.archived, m.role, r.created_by, \
    r.created_us FROM members m JOIN rooms r ON r.id = m.room_id";

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    id: RoomId,
    user: UserId,
) -> Result<Option<Room>, StoreError> {
    let sql = format!(
        "{SELECT_ROOM} WHERE m.room_id = $1 AND m.user_id = $2 AND {HAS_RIGHTS} AND {IS_KNOWN}"
    );
    let values = [id.as_uuid().into(), user.as_uuid().into()];
    let query = statement(connection, &sql, values);
    let row = connection.query_one_raw(query).await?;
    row.as_ref().map(room).transpose()
}

async fn is_pair(
    connection: &impl ConnectionTrait,
    (low, high): (UserId, UserId),
) -> Result<bool, StoreError> {
    let sql = "SELECT room_id FROM direct_pairs WHERE low = $1 AND high = $2";
    let values = [low.as_uuid().into(), high.as_uuid().into()];
    let query = statement(connection, sql, values);
    Ok(connection.query_one_raw(query).await?.is_some())
}

/// As one of the two sees it; `None` to one who has a role there that this release does not know.
async fn find_direct(
    connection: &impl ConnectionTrait,
    (low, high): (UserId, UserId),
    user: UserId,
) -> Result<Option<Room>, StoreError> {
    let sql = format!(
        "{SELECT_ROOM} JOIN direct_pairs p ON p.room_id = r.id
         WHERE p.low = $1 AND p.high = $2 AND m.user_id = $3 AND {HAS_RIGHTS} AND {IS_KNOWN}"
    );
    let values = [
        low.as_uuid().into(),
        high.as_uuid().into(),
        user.as_uuid().into(),
    ];
    let query = statement(connection, &sql, values);
    let row = connection.query_one_raw(query).await?;
    row.as_ref().map(room).transpose()
}

fn room(row: &QueryResult) -> Result<Room, StoreError> {
    let kept_type: String = row.try_get("", "type")?;
    Ok(Room {
        id: RoomId::from_uuid(row.try_get("", "id")?),
        room_type: RoomType::ALL
            .into_iter()
            .find(|known| known.as_str() == kept_type)
            .ok_or_else(|| StoreError::unreadable(anyhow::anyhow!("room type {kept_type:?}")))?,
        title: row.try_get("", "title")?,
        archived: row.try_get("", "archived")?,
        role: members::role(&row.try_get::<String>("", "role")?)?,
        created_by: UserId::from_uuid(row.try_get("", "created_by")?),
        created_at: time(row, "created_us")?,
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
