//! The outbox: what the relational side has to tell the journal. A row is written in the
//! transaction that makes the change, and deleted once the journal holds it.
//!
//! The ids of one room's rows ascend in the order their transactions commit: an id is taken only
//! while the room's row is locked. A relay of the room holds that lock too, and skips rooms that
//! are locked, but never a row: so a room's rows reach the journal strictly in order.

use super::{
    Sql, StoreError,
    sql::commit,
    transaction::{execute, for_update, statement},
};
use parking_lot::Mutex;
use roost_schema::{Body, ItemId, Kind, Op, RoomId, UserId};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// How many rooms an instance relays at once. On `PostgreSQL` each holds a connection while it
/// waits for the journal, which may need one of the same pool.
const CLAIMS_MAX: usize = 8;
/// A relay that is frozen while it holds a room loses it after this, and others go on.
const CLAIM_IDLE_MAX_MS: u32 = 10_000;
/// How many rows are read at a time.
const PAGE_ROWS: u64 = 32;
/// How many rooms with rows are named at a time.
const PAGE_ROOMS: u64 = 1_000;

/// An entry the journal is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    pub room: RoomId,
    pub item: ItemId,
    pub kind: Kind,
    pub op: Op,
    pub body: Body,
    pub actor: UserId,
}

/// An event that waits, and the id that names it for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub id: i64,
    pub event: OutboxEvent,
}

/// Adds an event. Locks the room's row until the transaction ends, for the order of the ids.
pub(super) async fn push(
    transaction: &DatabaseTransaction,
    event: &OutboxEvent,
) -> Result<(), StoreError> {
    lock_room(transaction, event.room).await?;
    push_locked(transaction, event).await
}

/// Adds an event of a room whose row this transaction has locked, or made.
pub(super) async fn push_locked(
    transaction: &DatabaseTransaction,
    event: &OutboxEvent,
) -> Result<(), StoreError> {
    execute(
        transaction,
        "INSERT INTO outbox (room_id, item, kind, op, body, actor) VALUES ($1, $2, $3, $4, $5, $6)",
        [
            event.room.as_uuid().into(),
            event.item.as_uuid().into(),
            event.kind.as_str().into(),
            event.op.as_str().into(),
            event.body.as_str().into(),
            event.actor.as_uuid().into(),
        ],
    )
    .await?;
    Ok(())
}

async fn lock_room(transaction: &DatabaseTransaction, room: RoomId) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT id FROM rooms WHERE id = $1{}",
        for_update(transaction)
    );
    let lock = statement(transaction, &sql, [room.as_uuid().into()]);
    match transaction.query_one_raw(lock).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Broken(anyhow::anyhow!(
            "an event for room {room}, which does not exist"
        ))),
    }
}

/// The rows that wait, and which rooms this instance relays at the moment. Clones are the same.
#[derive(Clone, Debug)]
pub struct Outbox {
    sql: Sql,
    locks: Arc<Mutex<HashMap<RoomId, Weak<tokio::sync::Mutex<()>>>>>,
    claims: Arc<Semaphore>,
}

impl Outbox {
    pub(super) fn new(sql: Sql) -> Self {
        Self {
            sql,
            locks: Arc::default(),
            claims: Arc::new(Semaphore::new(CLAIMS_MAX)),
        }
    }

    /// Some of the rooms that have rows.
    pub async fn rooms(&self) -> Result<Vec<RoomId>, StoreError> {
        let query = statement(
            &self.sql.read,
            "SELECT DISTINCT room_id FROM outbox LIMIT $1",
            [PAGE_ROOMS.cast_signed().into()],
        );
        let rows = self.sql.read_all(query).await?;
        rows.iter()
            .map(|row| Ok(RoomId::from_uuid(row.try_get("", "room_id")?)))
            .collect()
    }

    pub async fn is_empty(&self, room: RoomId) -> Result<bool, StoreError> {
        let query = statement(
            &self.sql.read,
            "SELECT id FROM outbox WHERE room_id = $1 LIMIT 1",
            [room.as_uuid().into()],
        );
        Ok(self.sql.read_one(query).await?.is_none())
    }

    /// Takes a room for relaying, after others on this instance that have it; `None` while another
    /// instance has it, or changes the room.
    pub async fn claim(&self, room: RoomId) -> Result<Option<Claim>, StoreError> {
        let turn = self.turn_of(room).lock_owned().await;
        let Ok(permit) = Arc::clone(&self.claims).acquire_owned().await else {
            return Ok(None);
        };
        // SQLite is one process's, and its write connection must stay free for the journal.
        let transaction = match self.sql.write.get_database_backend() {
            DbBackend::Sqlite => None,
            _ => match self.lock_skipping(room).await? {
                None => return Ok(None),
                locked => locked,
            },
        };
        Ok(Some(Claim {
            room,
            sql: self.sql.clone(),
            transaction,
            _permit: permit,
            _turn: turn,
        }))
    }

    async fn lock_skipping(&self, room: RoomId) -> Result<Option<DatabaseTransaction>, StoreError> {
        let transaction = self.sql.begin().await?;
        let sql = format!("SET LOCAL idle_in_transaction_session_timeout = {CLAIM_IDLE_MAX_MS}");
        transaction.execute_unprepared(&sql).await?;
        let lock = statement(
            &transaction,
            "SELECT id FROM rooms WHERE id = $1 FOR UPDATE SKIP LOCKED",
            [room.as_uuid().into()],
        );
        let locked = transaction.query_one_raw(lock).await?.is_some();
        Ok(locked.then_some(transaction))
    }

    fn turn_of(&self, room: RoomId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&room).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(room, Arc::downgrade(&lock));
        lock
    }
}

/// One room, held for relaying: no other relay takes it until this is finished or dropped.
pub struct Claim {
    room: RoomId,
    sql: Sql,
    transaction: Option<DatabaseTransaction>,
    _permit: OwnedSemaphorePermit,
    _turn: OwnedMutexGuard<()>,
}

impl Claim {
    /// The room's oldest rows, in order; those before the first that cannot be read, or an error if that is the oldest.
    pub async fn oldest(&self) -> Result<Vec<OutboxRow>, StoreError> {
        let query = statement(
            &self.sql.read,
            "SELECT id, room_id, item, kind, op, body, actor FROM outbox
             WHERE room_id = $1 ORDER BY id LIMIT $2",
            [self.room.as_uuid().into(), PAGE_ROWS.cast_signed().into()],
        );
        let rows = match &self.transaction {
            Some(transaction) => transaction.query_all_raw(query).await?,
            None => self.sql.read_all(query).await?,
        };
        let mut readable = Vec::with_capacity(rows.len());
        for row in &rows {
            match outbox_row(row) {
                Ok(row) => readable.push(row),
                Err(error) if readable.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(readable)
    }

    /// Deletes the rows up to an id, which the journal holds now. Kept when the claim is finished;
    /// else they are relayed again, and the journal knows them by their operation ids.
    pub async fn delete_through(&self, id: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM outbox WHERE room_id = $1 AND id <= $2";
        let values = [self.room.as_uuid().into(), id.into()];
        match &self.transaction {
            Some(transaction) => execute(transaction, sql, values).await?,
            None => execute(&self.sql.write, sql, values).await?,
        };
        Ok(())
    }

    pub async fn finish(self) -> Result<(), StoreError> {
        match self.transaction {
            Some(transaction) => commit(transaction).await,
            None => Ok(()),
        }
    }
}

fn outbox_row(row: &QueryResult) -> Result<OutboxRow, StoreError> {
    let uuid = |column| row.try_get::<Uuid>("", column);
    let text = |column| row.try_get::<String>("", column);
    Ok(OutboxRow {
        id: row.try_get("", "id")?,
        event: OutboxEvent {
            room: RoomId::from_uuid(uuid("room_id")?),
            item: ItemId::from_uuid(uuid("item")?),
            kind: Kind::from(text("kind")?.as_str()),
            op: Op::from(text("op")?.as_str()),
            body: Body::from_text(text("body")?).map_err(StoreError::unreadable)?,
            actor: UserId::from_uuid(uuid("actor")?),
        },
    })
}
