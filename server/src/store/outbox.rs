//! The outbox: entries that the relational store still has to append to the journal. A row is written in the
//! transaction that makes the change, and deleted once the journal has the entry.
//!
//! The ids of a room's rows ascend in the order in which their transactions commit, because an id is taken only under
//! the lock of the room's row. A relay holds that lock, too. It skips a locked room, but never a row, so the rows of a
//! room reach the journal in order.

use super::{
    Sql, StoreError,
    sql::commit,
    transaction::{execute, for_update, now_us, statement},
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

/// How many rooms an instance relays at once. On `PostgreSQL` each relay holds a connection of the common pool while it
/// waits for the journal.
const CLAIMS_MAX: usize = 8;
/// How long the transaction of a relay may be idle. After this the database ends it, so that a frozen relay gives up
/// its room.
const CLAIM_IDLE_MAX_MS: u32 = 10_000;
/// How many rows one query reads.
const PAGE_ROWS: u64 = 32;
/// How many rooms one query lists.
const PAGE_ROOMS: u64 = 1_000;

/// An entry that the journal is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    pub room: RoomId,
    pub item: ItemId,
    pub kind: Kind,
    pub op: Op,
    pub body: Body,
    pub actor: UserId,
}

/// A waiting event, and the id that names it for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub id: i64,
    pub event: OutboxEvent,
}

/// Adds an event. Locks the room's row until the transaction ends, so that the ids ascend in commit order.
pub(super) async fn push(
    transaction: &DatabaseTransaction,
    event: &OutboxEvent,
) -> Result<(), StoreError> {
    lock_room(transaction, event.room).await?;
    push_locked(transaction, event).await
}

/// Adds an event of a room whose row this transaction has locked or inserted.
pub(super) async fn push_locked(
    transaction: &DatabaseTransaction,
    event: &OutboxEvent,
) -> Result<(), StoreError> {
    // Raw SQL: the outbox has no entity yet.
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
    // Raw SQL: only the lock of the room's row is wanted, and no column of it.
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

/// The waiting rows, and the rooms that this instance relays at the moment. Clones share both.
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

    /// Up to `PAGE_ROOMS` of the rooms that have rows.
    pub async fn rooms(&self) -> Result<Vec<RoomId>, StoreError> {
        // Raw SQL: the outbox has no entity yet.
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
        // Raw SQL: the outbox has no entity yet.
        let query = statement(
            &self.sql.read,
            "SELECT id FROM outbox WHERE room_id = $1 LIMIT 1",
            [room.as_uuid().into()],
        );
        Ok(self.sql.read_one(query).await?.is_none())
    }

    /// Claims a room for relaying, after earlier claims of this instance have ended. `None` while another instance
    /// relays or changes the room.
    pub async fn claim(&self, room: RoomId) -> Result<Option<Claim>, StoreError> {
        let turn = self.turn_of(room).lock_owned().await;
        let Ok(permit) = Arc::clone(&self.claims).acquire_owned().await else {
            return Ok(None);
        };
        // SQLite has one process, so no lock is needed, and its one write connection must stay free for the journal.
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
        // Raw SQL: only the lock of the room's row is wanted, and no column of it.
        let lock = statement(
            &transaction,
            "SELECT id FROM rooms WHERE id = $1 FOR UPDATE SKIP LOCKED",
            [room.as_uuid().into()],
        );
        if transaction.query_one_raw(lock).await?.is_none() {
            return Ok(None);
        }
        // Raw SQL: a setting of `PostgreSQL` is no query of a table.
        let sql = format!("SET LOCAL idle_in_transaction_session_timeout = {CLAIM_IDLE_MAX_MS}");
        transaction.execute_unprepared(&sql).await?;
        Ok(Some(transaction))
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

/// A room that is claimed for relaying: no other relay takes the room until the claim is finished or dropped.
pub struct Claim {
    room: RoomId,
    sql: Sql,
    transaction: Option<DatabaseTransaction>,
    _permit: OwnedSemaphorePermit,
    _turn: OwnedMutexGuard<()>,
}

impl Claim {
    pub const fn room(&self) -> RoomId {
        self.room
    }

    /// The room's oldest rows in order, up to the first that cannot be read. An error when the oldest cannot be read.
    pub async fn oldest(&self) -> Result<Vec<OutboxRow>, StoreError> {
        // Raw SQL: the outbox has no entity yet.
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

    /// Deletes the rows up to an id, which the journal has now. The deletion is lost when the claim is not finished;
    /// then the rows are relayed again, and the journal recognises them by their operation ids.
    pub async fn delete_through(&self, id: i64) -> Result<(), StoreError> {
        // Raw SQL: the outbox has no entity yet.
        let sql = "DELETE FROM outbox WHERE room_id = $1 AND id <= $2";
        let values = [self.room.as_uuid().into(), id.into()];
        match &self.transaction {
            Some(transaction) => execute(transaction, sql, values).await?,
            None => execute(&self.sql.write, sql, values).await?,
        };
        Ok(())
    }

    /// Copies a row that the journal refuses to the refused events, for an operator. The caller deletes it from the
    /// outbox.
    pub async fn set_aside(&self, row: &OutboxRow, reason: &str) -> Result<(), StoreError> {
        let now = now_us(&self.sql.write);
        // Raw SQL: the row is copied by the database, and the time is an expression.
        let sql = format!(
            "INSERT INTO outbox_refused (id, room_id, item, kind, op, body, actor, reason, refused_us)
             SELECT id, room_id, item, kind, op, body, actor, $2, {now} FROM outbox WHERE id = $1"
        );
        let values = [row.id.into(), reason.into()];
        match &self.transaction {
            Some(transaction) => execute(transaction, &sql, values).await?,
            None => execute(&self.sql.write, &sql, values).await?,
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
