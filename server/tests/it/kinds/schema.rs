//! The migration that makes roles and types of rooms text, on a database with rows.

use crate::support::{World, in_time};
use roost_migrations::{Migrator, MigratorTrait};
use roost_schema::{RoomId, UserId};
use roost_server::store::Sql;
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait, Value};
use std::time::Duration;

/// The number of migrations before that one.
const BEFORE: u32 = 4;

async fn execute(sql: &Sql, text: &str, values: Vec<Value>) {
    let statement = Statement::from_sql_and_values(sql.backend(), text, values);
    sql.write.execute_raw(statement).await.unwrap();
}

async fn number(sql: &Sql, text: &str) -> i64 {
    let statement = Statement::from_string(sql.backend(), text);
    let row = sql.write.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get("", "number").unwrap()
}

async fn push(sql: &Sql, room: RoomId) {
    let push = "INSERT INTO outbox (room_id, item, kind, op, body, actor) VALUES ($1, $1, 'room', 'put', '{}', $1)";
    execute(sql, push, vec![room.as_uuid().into()]).await;
}

async fn rows_survive_and_words_are_open(sql: &Sql) {
    Migrator::up(&sql.write, Some(BEFORE)).await.unwrap();
    let (room, user) = (RoomId::generate(), UserId::generate());
    let insert = "INSERT INTO rooms (id, type, title, archived, created_by, created_us) VALUES ($1, 'board', 'Plan', FALSE, $2, 7)";
    let ids = || vec![room.as_uuid().into(), user.as_uuid().into()];
    execute(sql, insert, ids()).await;
    let insert =
        "INSERT INTO members (room_id, user_id, role, joined_us) VALUES ($1, $2, 'owner', 8)";
    execute(sql, insert, ids()).await;
    let insert = "INSERT INTO direct_pairs (low, high, room_id) VALUES ($2, $1, $1)";
    execute(sql, insert, ids()).await;
    for _ in 0..5 {
        push(sql, room).await;
    }
    execute(sql, "DELETE FROM outbox WHERE id > 1", vec![]).await;

    sql.migrate().await.unwrap();

    for (table, count) in [
        ("rooms", 1),
        ("members", 1),
        ("direct_pairs", 1),
        ("outbox", 1),
    ] {
        let found = number(sql, &format!("SELECT count(*) AS number FROM {table}")).await;
        assert_eq!(found, count, "{table}");
    }
    assert_eq!(
        number(
            sql,
            "SELECT joined_us AS number FROM members WHERE role = 'owner'"
        )
        .await,
        8
    );
    push(sql, room).await;
    // The id of a deleted row is not given again, because it names an operation in the journal.
    assert_eq!(number(sql, "SELECT max(id) AS number FROM outbox").await, 6);
    execute(
        sql,
        "UPDATE members SET role = 'guest' WHERE room_id = $1",
        vec![room.as_uuid().into()],
    )
    .await;
    execute(
        sql,
        "UPDATE rooms SET type = 'channel' WHERE id = $1",
        vec![room.as_uuid().into()],
    )
    .await;
    // A membership without a room is still refused.
    let orphan = Statement::from_sql_and_values(
        sql.backend(),
        "INSERT INTO members (room_id, user_id, role, joined_us) VALUES ($1, $1, 'owner', 8)",
        [user.as_uuid().into()],
    );
    sql.write.execute_raw(orphan).await.unwrap_err();
    indexes_are_there_and_nothing_is_left(sql).await;
}

async fn indexes_are_there_and_nothing_is_left(sql: &Sql) {
    let indexes = match sql.backend() {
        DbBackend::Sqlite => {
            "SELECT count(*) AS number FROM sqlite_schema WHERE type = 'index' AND name IN"
        }
        _ => "SELECT count(*) AS number FROM pg_indexes WHERE indexname IN",
    };
    let indexes = format!("{indexes} ('members_joined', 'members_user', 'outbox_room')");
    assert_eq!(number(sql, &indexes).await, 3);
    if sql.backend() == DbBackend::Sqlite {
        let left = "SELECT count(*) AS number FROM sqlite_schema WHERE name LIKE '%_open' OR sql LIKE '%_open%'";
        assert_eq!(number(sql, left).await, 0);
        assert_eq!(
            number(
                sql,
                "SELECT count(*) AS number FROM pragma_foreign_key_check"
            )
            .await,
            0
        );
    }
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("roost.sqlite").display());
    rows_survive_and_words_are_open(&Sql::connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn on_postgres() {
    let url = World::empty_postgres().await;
    rows_survive_and_words_are_open(&Sql::connect(&url).await.unwrap()).await;
}

/// The previous release uses its tables during the migration, and holds one.
#[tokio::test]
async fn others_are_served_while_it_waits_for_a_table() {
    for table in ["rooms", "revocations", "instances"] {
        let url = World::empty_postgres().await;
        let sql = Sql::connect(&url).await.unwrap();
        Migrator::up(&sql.write, Some(BEFORE)).await.unwrap();
        let holder = sql.write.begin().await.unwrap();
        let hold = format!("LOCK TABLE {table} IN ROW SHARE MODE");
        holder.execute_unprepared(&hold).await.unwrap();
        let mut migrating = tokio::task::JoinSet::new();
        let other = sql.clone();
        migrating.spawn(async move { other.migrate().await });
        // A statement that waits longer than 2 s fails.
        let look = format!("SELECT count(*) AS number FROM {table}");
        for _ in 0..15 {
            number(&sql, &look).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(migrating.try_join_next().is_none(), "it waits for {table}");
        holder.commit().await.unwrap();
        let migrated = in_time(migrating.join_next()).await.unwrap();
        migrated.unwrap().unwrap();
    }
}
