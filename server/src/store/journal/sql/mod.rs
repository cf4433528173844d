//! The journal on `PostgreSQL` or `SQLite`: one row per entry.
//!
//! The two databases differ in their writers. On `PostgreSQL` each append is one statement, see `postgres.rs`; on
//! `SQLite` one task commits waiting batches in groups, see `writer.rs`. On `PostgreSQL` lists are passed as arrays.

mod append;
mod find;
mod page;
mod postgres;
mod row;
mod terms;
mod trim;
mod verify;
mod writer;

use super::{
    Appended, Entry, FindQuery, FindRoom, Gate, Heads, Journal, JournalError, Page, Result,
    RoomHead, Trim, check_batch, check_rooms,
    encoding::{seq_from, signed, unsound},
    new_epoch,
};
use crate::store::sql::{self, Sql};
use anyhow::anyhow;
use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, Value,
    sqlx::postgres::PgPool,
};
use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use writer::SqliteWriter;

use roost_schema::{Epoch, ItemId, OpId, RoomId, Seq, UserId};

/// How long a read, or one half of a write, may take. It is longer than the database's own statement timeout, so that
/// it only ends calls whose database has stopped answering.
const DEADLINE: Duration = Duration::from_secs(4);
/// How many values of a list one statement binds: `SQLite` takes 32,766 in all.
const LIST_MAX: usize = 8_000;

/// The journal in the relational database.
pub struct SqlJournal {
    sql: Sql,
    /// The one writer of `SQLite`; absent on `PostgreSQL`.
    writer: Option<SqliteWriter>,
}

impl SqlJournal {
    /// Opens the journal of a migrated database and creates its epoch if it has none. On `PostgreSQL` the journal opens
    /// its own connections. On `SQLite` the writer runs on `tasks`; when `cancel` fires it finishes its waiting batches
    /// and ends.
    pub async fn open(
        sql: Sql,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Arc<Self>> {
        let sql = sql.for_journal().await;
        let sql = sql.map_err(|error| JournalError::Unavailable(error.into()))?;
        let writer = (sql.backend() == DbBackend::Sqlite)
            .then(|| SqliteWriter::spawn(sql.clone(), tasks, cancel));
        let journal = Self { sql, writer };
        let create = "INSERT INTO journal_epoch (id, epoch) VALUES (1, $1) ON CONFLICT DO NOTHING";
        journal
            .execute(create, vec![epoch_value(new_epoch())])
            .await?;
        Ok(Arc::new(journal))
    }

    /// Verifies the journal of a migrated database without opening it; see [`Journal::verify`].
    pub async fn examine(sql: &Sql) -> Result<()> {
        verify::verify(sql).await
    }

    /// The connections of the journal.
    pub const fn sql(&self) -> &Sql {
        &self.sql
    }

    /// The pool of `PostgreSQL`; absent on `SQLite`.
    fn postgres(&self) -> Option<&PgPool> {
        let is_postgres = self.sql.backend() == DbBackend::Postgres;
        is_postgres.then(|| self.sql.write.get_postgres_connection_pool())
    }

    fn statement(&self, text: impl Into<String>, values: Vec<Value>) -> Statement {
        append::statement(self.sql.backend(), text.into(), values)
    }

    /// Reads; repeats the read on another connection when a pooled one has died.
    async fn query(&self, text: String, values: Vec<Value>) -> Result<Vec<QueryResult>> {
        let statement = self.statement(text, values);
        let read = sql::on_living_connection(
            || self.sql.read.query_all_raw(statement.clone()),
            sql::is_dead_connection,
        );
        within_deadline(read)
            .await
            .map_err(JournalError::Unavailable)
    }

    /// Begins a transaction on a connection that answers.
    async fn begin(&self) -> Result<DatabaseTransaction> {
        within_deadline(self.sql.begin())
            .await
            .map_err(JournalError::Unavailable)
    }

    /// Runs one statement in a transaction; answers how many rows it changed.
    async fn execute(&self, text: &str, values: Vec<Value>) -> Result<u64> {
        let transaction = self.begin().await?;
        let changed = within_deadline(transaction.execute_raw(self.statement(text, values)))
            .await
            .map_err(JournalError::Unavailable)?;
        commit(transaction).await?;
        Ok(changed.rows_affected())
    }

    async fn heads_of(&self, rooms: &[RoomId]) -> Result<Heads> {
        let rows = match self.postgres() {
            Some(pool) => postgres::heads(pool, rooms).await?,
            None => self.heads_listed(rooms).await?,
        };
        let epoch = rows.first().ok_or_else(no_epoch)?.try_get("", "epoch");
        let mut heads = Heads {
            epoch: Epoch(seq_from(epoch.map_err(unsound)?)?.0),
            rooms: HashMap::with_capacity(rooms.len()),
        };
        for row in rows.iter().take(rooms.len()) {
            let room = row.try_get("", "room").map_err(unsound)?;
            let head: Option<i64> = row.try_get("", "head").map_err(unsound)?;
            let floor: Option<i64> = row.try_get("", "floor").map_err(unsound)?;
            let stands = RoomHead {
                head: seq_from(head.unwrap_or_default())?,
                floor: seq_from(floor.unwrap_or_default())?,
            };
            heads.rooms.insert(RoomId::from_uuid(room), stands);
        }
        Ok(heads)
    }

    /// The heads by a list of values, for `SQLite`.
    async fn heads_listed(&self, rooms: &[RoomId]) -> Result<Vec<QueryResult>> {
        let mut text = "SELECT e.epoch, w.column1 AS room,
                (SELECT max(seq) FROM journal WHERE room = w.column1) AS head,
                (SELECT floor FROM journal_floor WHERE room = w.column1) AS floor
            FROM journal_epoch AS e LEFT JOIN (VALUES "
            .to_owned();
        append::push_tuples(&mut text, 1, rooms.len(), 1);
        text += ") AS w ON TRUE";
        if rooms.is_empty() {
            "SELECT epoch FROM journal_epoch".clone_into(&mut text);
        }
        let values = rooms.iter().map(|room| room.as_uuid().into()).collect();
        self.query(text, values).await
    }
}

#[async_trait]
impl Journal for SqlJournal {
    async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        check_batch(room, batch)?;
        match (&self.writer, self.postgres()) {
            (Some(writer), _) => writer.append(room, batch, gate).await,
            (None, Some(pool)) => postgres::append(pool, room, batch, &**gate).await,
            (None, None) => Err(JournalError::Unavailable(anyhow!("nothing writes here"))),
        }
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads> {
        let (first, rest) = rooms.split_at(rooms.len().min(LIST_MAX));
        let mut heads = self.heads_of(first).await?;
        for rooms in rest.chunks(LIST_MAX) {
            let further = self.heads_of(rooms).await?;
            if further.epoch != heads.epoch {
                let error = anyhow!("the epoch changed while the heads were read");
                return Err(JournalError::Unavailable(error));
            }
            heads.rooms.extend(further.rooms);
        }
        Ok(heads)
    }

    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page> {
        page::log(self, room, after, limit_bytes).await
    }

    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page> {
        page::changes(self, room, since, limit_bytes).await
    }

    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>> {
        page::items(self, room, items).await
    }

    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>> {
        page::operations(self, room, operations).await
    }

    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>> {
        check_rooms(rooms)?;
        match self.postgres() {
            Some(pool) => postgres::find(pool, rooms, &query).await,
            None => find::one_by_one(self, rooms, &query).await,
        }
    }

    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>> {
        page::rooms(self, beyond, limit_rooms).await
    }

    async fn trim(&self, bounds: Trim) -> Result<u64> {
        Ok(trim::tombstones(self, bounds).await? + trim::superseded(self, bounds).await?)
    }

    async fn change_epoch(&self, known: Epoch) -> Result<Epoch> {
        let change = "UPDATE journal_epoch SET epoch = $1 WHERE epoch = $2";
        let values = vec![epoch_value(new_epoch()), epoch_value(known)];
        self.execute(change, values).await?;
        Ok(self.heads_of(&[]).await?.epoch)
    }

    async fn verify(&self) -> Result<()> {
        verify::verify(&self.sql).await
    }
}

fn epoch_value(epoch: Epoch) -> Value {
    signed(epoch.0).into()
}

fn no_epoch() -> JournalError {
    JournalError::Unsound("it has no epoch".to_owned())
}

/// Commits. Without an answer, or after a broken connection, the outcome is unknown.
async fn commit(transaction: DatabaseTransaction) -> Result<()> {
    within_deadline(transaction.commit())
        .await
        .map_err(JournalError::OutcomeUnknown)
}

async fn within_deadline<T, E: Into<anyhow::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, anyhow::Error> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(anyhow!("no answer from the database within {DEADLINE:?}")),
    }
}
