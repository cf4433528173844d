//! A store of the journal for each test: a file in its own folder, or its own database on the real server that
//! `cargo xtask test` started.

use mongodb::options::{ClientOptions, ServerMonitoringMode};
use roost_schema::{RoomId, Seq};
use roost_server::store::{
    Sql,
    journal::{Entry, Journal, MongoJournal, SqlJournal},
};
use sea_orm::{
    ConnectionTrait, QueryResult, Statement,
    sqlx::{self, Connection, Executor, PgConnection},
};
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub(crate) enum Store {
    Sqlite { folder: tempfile::TempDir },
    Postgres { server: String, name: String },
    Mongo { server: String, name: String },
}

impl Store {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::Sqlite { folder }.migrated().await
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_unmigrated().await.migrated().await
    }

    pub(crate) async fn postgres_unmigrated() -> Self {
        let server = server_url("ROOST_TEST_POSTGRES_URL");
        let name = database_name();
        on_server(&server, &format!("CREATE DATABASE {name}")).await;
        Self::Postgres { server, name }
    }

    pub(crate) async fn mongo() -> Self {
        let server = server_url("ROOST_TEST_MONGODB_URL");
        let name = database_name();
        MongoJournal::open(&with_database(&server, &name))
            .await
            .unwrap();
        Self::Mongo { server, name }
    }

    async fn migrated(self) -> Self {
        let sql = self.sql().await;
        sql.migrate().await.unwrap();
        // SQLite changes its journal mode only without other connections.
        sql.read.close().await.unwrap();
        sql.write.close().await.unwrap();
        self
    }

    /// The URL of the journal, as the configuration has it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite { folder } => {
                format!(
                    "sqlite://{}?mode=rwc",
                    folder.path().join("roost.db").display()
                )
            }
            Self::Postgres { server, name } | Self::Mongo { server, name } => {
                with_database(server, name)
            }
        }
    }

    /// Opens the journal with new connections, like another instance.
    pub(crate) async fn open(&self) -> Arc<dyn Journal> {
        open(&self.url()).await
    }

    /// The same, with the connections that write.
    pub(crate) async fn open_with_sql(&self) -> (Arc<dyn Journal>, Sql) {
        let sql = self.sql().await;
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let journal = SqlJournal::open(sql.clone(), &tasks, cancel).await;
        (journal.unwrap(), sql)
    }

    pub(crate) fn is_sql(&self) -> bool {
        !matches!(self, Self::Mongo { .. })
    }

    pub(crate) async fn sql(&self) -> Sql {
        Sql::connect(&self.url()).await.unwrap()
    }

    pub(crate) async fn mongo_database(&self) -> mongodb::Database {
        let Self::Mongo { server, name } = self else {
            panic!("not a MongoDB store");
        };
        mongodb::Client::with_uri_str(server)
            .await
            .unwrap()
            .database(name)
    }

    /// Marks an entry current behind the journal's back, as a writer leaves it that was killed between its two steps.
    pub(crate) async fn leave_current(&self, room: RoomId, seq: Seq) {
        let sql = "UPDATE journal SET is_current = TRUE WHERE room = $1 AND seq = $2";
        self.tamper(room, seq, sql, bson::doc! { "$set": { "current": true } })
            .await;
    }

    /// The same with the rows of its terms, as a release leaves them that knows no terms.
    pub(crate) async fn leave_found(&self, entry: &Entry) {
        self.leave_current(entry.room, entry.seq).await;
        self.leave_terms(entry).await;
    }

    /// Restores only the rows of an entry's terms. `MongoDB` has no such rows: the entry itself has the terms.
    pub(crate) async fn leave_terms(&self, entry: &Entry) {
        if !self.is_sql() {
            return;
        }
        let sql = self.sql().await;
        let text = "INSERT INTO journal_terms (term, room, kind, born, item)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        for term in entry.terms.iter() {
            let values = [
                term.as_str().into(),
                entry.room.as_uuid().into(),
                entry.kind.as_str().into(),
                signed(entry.born).into(),
                entry.item.as_uuid().into(),
            ];
            let statement = Statement::from_sql_and_values(sql.backend(), text, values);
            sql.write.execute_raw(statement).await.unwrap();
        }
    }

    /// All rows of terms: term, room and born, ascending.
    pub(crate) async fn terms(&self) -> Vec<(String, RoomId, Seq)> {
        let sql = self.sql().await;
        let text = "SELECT term, room, born FROM journal_terms ORDER BY term, room, born";
        let statement = Statement::from_string(sql.backend(), text);
        let rows = sql.read.query_all_raw(statement).await.unwrap();
        let row = |row: &QueryResult| {
            let born: i64 = row.try_get("", "born").unwrap();
            (
                row.try_get("", "term").unwrap(),
                RoomId::from_uuid(row.try_get("", "room").unwrap()),
                Seq(born.unsigned_abs()),
            )
        };
        rows.iter().map(row).collect()
    }

    /// Removes an entry's body behind the journal's back, and its seal, as if a release without seals had written it.
    pub(crate) async fn lose_body(&self, room: RoomId, seq: Seq) {
        let sql = "UPDATE journal SET body = NULL, salt = NULL, body_hash = NULL, row_hash = NULL
            WHERE room = $1 AND seq = $2";
        let fields = bson::doc! { "body": "", "salt": "", "bodyHash": "", "rowHash": "" };
        self.tamper(room, seq, sql, bson::doc! { "$unset": fields })
            .await;
    }

    /// Deletes all rows of terms.
    pub(crate) async fn forget_terms(&self) {
        let sql = self.sql().await;
        let forget = "DELETE FROM journal_terms";
        sql.write.execute_unprepared(forget).await.unwrap();
    }

    /// Changes one entry behind the journal's back, by `sql` or, on `MongoDB`, by `update`.
    async fn tamper(&self, room: RoomId, seq: Seq, sql: &str, update: bson::Document) {
        if self.is_sql() {
            self.execute(sql, room, seq).await;
            return;
        }
        let entries = self
            .mongo_database()
            .await
            .collection::<bson::Document>("journal");
        let filter = bson::doc! { "room": bson::Uuid::from(room.as_uuid()), "seq": signed(seq) };
        let updated = entries.update_one(filter, update).await.unwrap();
        assert_eq!(updated.modified_count, 1);
    }

    /// Writes an entry behind the journal's back, without checking the slot before it.
    pub(crate) async fn plant(&self, entry: &Entry) {
        match self {
            Self::Mongo { .. } => self.plant_document(entry).await,
            _ => self.plant_row(entry).await,
        }
    }

    async fn plant_row(&self, entry: &Entry) {
        let sql = self.sql().await;
        let text = "INSERT INTO journal (room, seq, item, kind, op, actor, op_id, request_hash,
            at_ms, born, is_current, size_bytes, body)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, TRUE, $11, $12)";
        let values = [
            entry.room.as_uuid().into(),
            signed(entry.seq).into(),
            entry.item.as_uuid().into(),
            entry.kind.as_str().into(),
            entry.op.as_str().into(),
            entry.actor.as_uuid().into(),
            entry.op_id.as_ref().map(ToString::to_string).into(),
            entry.request_hash.0.to_vec().into(),
            entry.at.timestamp_millis().into(),
            signed(entry.born).into(),
            i64::try_from(entry.body.as_str().len()).unwrap().into(),
            entry.body.as_str().into(),
        ];
        let statement = Statement::from_sql_and_values(sql.backend(), text, values);
        sql.write.execute_raw(statement).await.unwrap();
    }

    async fn plant_document(&self, entry: &Entry) {
        let entries = self.mongo_database().await.collection("journal");
        let operation = match &entry.op_id {
            Some(op_id) => format!("{}/{op_id}", entry.actor).into(),
            None => bson::Bson::Int64(signed(entry.seq)),
        };
        let generic = |bytes| bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes,
        };
        let slot = [
            &entry.room.as_uuid().as_bytes()[..],
            &entry.seq.0.to_be_bytes(),
        ]
        .concat();
        let document = bson::doc! {
            "_id": generic(slot),
            "room": bson::Uuid::from(entry.room.as_uuid()),
            "seq": signed(entry.seq),
            "item": bson::Uuid::from(entry.item.as_uuid()),
            "kind": entry.kind.as_str(),
            "op": entry.op.as_str(),
            "actor": bson::Uuid::from(entry.actor.as_uuid()),
            "operation": operation,
            "hash": generic(entry.request_hash.0.to_vec()),
            "at": entry.at.timestamp_millis(),
            "born": signed(entry.born),
            "current": true,
            "body": entry.body.as_str(),
        };
        entries.insert_one(document).await.unwrap();
    }

    async fn execute(&self, text: &str, room: RoomId, seq: Seq) {
        let sql = self.sql().await;
        let values = [room.as_uuid().into(), signed(seq).into()];
        let statement = Statement::from_sql_and_values(sql.backend(), text, values);
        let changed = sql.write.execute_raw(statement).await.unwrap();
        assert!(changed.rows_affected() > 0);
    }

    /// Removes the entries after a seq, as a restore from a backup does.
    pub(crate) async fn take_back(&self, room: RoomId, after: Seq) {
        if self.is_sql() {
            let text = "DELETE FROM journal WHERE room = $1 AND seq > $2";
            self.execute(text, room, after).await;
            return;
        }
        let entries = self
            .mongo_database()
            .await
            .collection::<bson::Document>("journal");
        let room = bson::Uuid::from(room.as_uuid());
        let filter = bson::doc! { "room": room, "seq": { "$gt": signed(after) } };
        entries.delete_many(filter).await.unwrap();
    }

    pub(crate) async fn drop_index(&self, index: &str) {
        if self.is_sql() {
            let drop = format!("DROP INDEX {index}");
            self.sql()
                .await
                .write
                .execute_unprepared(&drop)
                .await
                .unwrap();
        } else {
            let entries = self
                .mongo_database()
                .await
                .collection::<bson::Document>("journal");
            entries.drop_index(index).await.unwrap();
        }
    }

    /// Removes the database that this test made.
    pub(crate) async fn remove(self) {
        match &self {
            Self::Sqlite { .. } => {}
            Self::Postgres { server, name } => {
                on_server(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
            Self::Mongo { .. } => self.mongo_database().await.drop().await.unwrap(),
        }
    }
}

/// Opens the journal of a URL; its tasks end with the test's runtime.
pub(crate) async fn open(url: &str) -> Arc<dyn Journal> {
    if url.starts_with("mongodb:") {
        return MongoJournal::open(url).await.unwrap();
    }
    let sql = Sql::connect(url).await.unwrap();
    let tasks = TaskTracker::new();
    SqlJournal::open(sql, &tasks, CancellationToken::new())
        .await
        .unwrap()
}

/// A journal on `MongoDB` whose driver notices a silent server before an insert is given up.
pub(crate) async fn open_mongo_with_quick_monitor(url: &str) -> Arc<dyn Journal> {
    let mut options = ClientOptions::parse(url).await.unwrap();
    options.heartbeat_freq = Some(Duration::from_millis(500));
    options.server_monitoring_mode = Some(ServerMonitoringMode::Poll);
    MongoJournal::open_with(options).await.unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by variables where the servers are"
)]
fn server_url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: `cargo xtask test` starts the servers and sets it")
    })
}

fn database_name() -> String {
    format!("journal_{}", Uuid::now_v7().simple())
}

/// Runs a statement without a statement timeout, because creating a database may wait for a checkpoint.
async fn on_server(server: &str, statement: &str) {
    let url = with_database(server, "postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let statement = sqlx::AssertSqlSafe(statement);
    connection.execute(statement).await.unwrap();
    connection.close().await.unwrap();
}

/// Puts a database's name into a URL whose path is empty.
fn with_database(server: &str, name: &str) -> String {
    let (address, options) = server.split_once('?').unwrap_or((server, ""));
    format!("{}/{name}?{options}", address.trim_end_matches('/'))
}

fn signed(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap()
}
