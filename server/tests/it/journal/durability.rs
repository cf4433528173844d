//! The settings on which acknowledged writes rest: read back from the store, and refused when they are weaker.

use super::{
    entries::{change, deletion, entry, now, open_gate},
    stores::Store,
};
use mongodb::{
    event::{EventHandler, command::CommandEvent},
    options::ClientOptions,
};
use roost_schema::{RoomId, Seq};
use roost_server::store::{
    Sql,
    journal::{Journal, MongoJournal, SqlJournal, Trim},
    lock_data,
};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector, Statement,
    sqlx::{
        postgres::{PgConnectOptions, PgPool},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
    },
};
use std::{
    str::FromStr,
    sync::{Arc, Mutex},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The error of verifying the journal, with this connection in both pools.
async fn verdict(connection: DatabaseConnection) -> Option<String> {
    let (read, write) = (connection.clone(), connection);
    let tasks = TaskTracker::new();
    let sql = Sql { read, write };
    let journal = SqlJournal::open(sql, &tasks, CancellationToken::new())
        .await
        .unwrap();
    journal.verify().await.err().map(|error| error.to_string())
}

#[tokio::test]
async fn sqlite_must_synchronise_fully_and_write_ahead() {
    let verdict_on = async |change: fn(SqliteConnectOptions) -> SqliteConnectOptions| {
        let store = Store::sqlite().await;
        let options = SqliteConnectOptions::from_str(&store.url()).unwrap();
        let pool = SqlitePool::connect_with(change(options)).await.unwrap();
        verdict(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)).await
    };
    let full = verdict_on(|options| options.synchronous(SqliteSynchronous::Full)).await;
    assert_eq!(full, None);
    let normal = verdict_on(|options| options.synchronous(SqliteSynchronous::Normal)).await;
    assert!(normal.unwrap().contains("synchronous"));
    let rollback = verdict_on(|options| options.journal_mode(SqliteJournalMode::Delete)).await;
    assert!(rollback.unwrap().contains("journal_mode"));
}

#[tokio::test]
async fn postgres_must_commit_synchronously() {
    let store = Store::postgres().await;
    for (setting, is_accepted) in [
        ("on", true),
        ("remote_write", true),
        ("local", false),
        ("off", false),
    ] {
        let options = PgConnectOptions::from_str(&store.url()).unwrap();
        let options = options.options([("synchronous_commit", setting)]);
        let pool = PgPool::connect_with(options).await.unwrap();
        let verdict = verdict(SqlxPostgresConnector::from_sqlx_postgres_pool(pool)).await;
        assert_eq!(verdict.is_none(), is_accepted, "{setting}: {verdict:?}");
    }
    store.remove().await;
}

/// Checks the commands on the wire, not the client's options.
#[tokio::test]
async fn every_command_to_mongodb_carries_its_concern() {
    let store = Store::mongo().await;
    let commands = Arc::new(Mutex::new(Vec::new()));
    let mut options = ClientOptions::parse(store.url()).await.unwrap();
    let seen = Arc::clone(&commands);
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(event) = event {
            seen.lock().unwrap().push(event.command);
        }
    }));
    // The journal must override the weaker write concern of these options.
    options.write_concern = Some(mongodb::options::WriteConcern::nodes(1));
    let journal = MongoJournal::open_with(options).await.unwrap();
    use_everything(&journal).await;

    let (mut writes, mut reads) = (0, 0);
    for command in commands.lock().unwrap().iter() {
        match command.keys().next().map(String::as_str) {
            Some("insert" | "update" | "delete" | "findAndModify") => {
                let concern = command.get_document("writeConcern").unwrap();
                assert_eq!(concern.get_str("w").ok(), Some("majority"), "{command}");
                assert_eq!(concern.get_bool("j").ok(), Some(true), "{command}");
                assert!(concern.contains_key("wtimeout"), "{command}");
                writes += 1;
            }
            Some("find" | "aggregate" | "count" | "distinct") => {
                let concern = command.get_document("readConcern").unwrap();
                assert_eq!(concern.get_str("level").ok(), Some("majority"), "{command}");
                reads += 1;
            }
            _ => {}
        }
    }
    assert!(writes >= 6 && reads >= 7, "{writes} writes, {reads} reads");
    store.remove().await;
}

async fn use_everything(journal: &MongoJournal) {
    let room = RoomId::generate();
    let first = entry(room, 1);
    let batch = [first.clone(), change(&first, 2), deletion(&first, 3)];
    journal.append(room, &batch, &open_gate()).await.unwrap();
    let epoch = journal.heads(&[room]).await.unwrap().epoch;
    journal.log(room, Seq::ZERO, 1).await.unwrap();
    journal.changes(room, Seq::ZERO, 1).await.unwrap();
    journal.items(room, &[first.item]).await.unwrap();
    let operation = (first.actor, first.op_id.unwrap());
    journal.operations(room, &[operation]).await.unwrap();
    let later = now() + chrono::Duration::hours(1);
    let bounds = Trim {
        superseded_before: later,
        tombstones_before: later,
    };
    assert_eq!(journal.trim(bounds).await.unwrap(), 3);
    journal.change_epoch(epoch).await.unwrap();
    journal.verify().await.unwrap();
}

#[tokio::test]
async fn what_connect_opens_is_durable_on_every_pooled_connection() {
    for store in [Store::sqlite().await, Store::postgres().await] {
        let sql = store.sql().await;
        let question = match &store {
            Store::Sqlite { .. } => {
                "SELECT CAST(synchronous AS text) AS value FROM pragma_synchronous"
            }
            _ => "SELECT current_setting('synchronous_commit') AS value",
        };
        for pool in [&sql.read, &sql.write] {
            let ask = || pool.query_one_raw(Statement::from_string(sql.backend(), question));
            for answer in futures::future::join_all((0..4).map(|_| ask())).await {
                let value: String = answer.unwrap().unwrap().try_get("", "value").unwrap();
                assert!(matches!(value.as_str(), "2" | "on"), "{value}");
            }
        }
        store.remove().await;
    }
}

#[tokio::test]
async fn reading_connections_of_sqlite_refuse_to_write() {
    let store = Store::sqlite().await;
    let sql = store.sql().await;
    let refused = sql.read.execute_unprepared("DELETE FROM journal").await;
    assert!(refused.unwrap_err().to_string().contains("readonly"));
}

#[tokio::test]
async fn instances_that_start_together_migrate_in_turn() {
    let store = Store::postgres_unmigrated().await;
    let (one, two, three) = (store.sql().await, store.sql().await, store.sql().await);
    let (one, two, three) = tokio::join!(one.migrate(), two.migrate(), three.migrate());
    assert!(
        one.is_ok() && two.is_ok() && three.is_ok(),
        "{one:?} {two:?} {three:?}"
    );
    store.open().await.verify().await.unwrap();
    store.remove().await;
}

#[tokio::test]
async fn an_sqlite_database_in_memory_is_refused() {
    for url in ["sqlite::memory:", "sqlite://x?mode=memory"] {
        assert!(Sql::connect(url).await.is_err());
        assert!(lock_data(url).is_err());
    }
    assert!(Sql::connect("mysql://localhost/roost").await.is_err());
}

#[test]
fn one_sqlite_file_has_one_lock_by_whatever_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (
        folder.path().join("roost.db"),
        folder.path().join("link.db"),
    );
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let url = |path: &std::path::Path| format!("sqlite://{}", path.display());
    let lock = lock_data(&url(&file)).unwrap();
    assert!(lock.is_some());
    let error = lock_data(&url(&link)).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("another process"), "{cause}");
    drop(lock);
    assert!(lock_data(&url(&link)).unwrap().is_some());
    assert!(lock_data("postgres://localhost/roost").unwrap().is_none());
}
