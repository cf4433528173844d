//! Roles and types of rooms are text: what a later release writes there, this one keeps. The lists of those that were
//! known go. On `SQLite` a table cannot lose a CHECK, so the tables are made anew, with those that refer to them.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, SchemaManagerConnection, async_trait,
    sea_orm::{ConnectionTrait, DbBackend, RuntimeErr, TransactionTrait, sqlx},
};
use std::time::{Duration, Instant};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_open_words"
    }
}

/// How long a try waits for the two tables: everybody else waits behind it meanwhile.
const LOCK_TIMEOUT_MS: u32 = 200;
/// How long others are let through between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(300);
/// How long it is tried: a relay holds a room for 10 s at most.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

const UP_POSTGRES: [&str; 3] = [
    "LOCK TABLE rooms, members IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE rooms DROP CONSTRAINT IF EXISTS rooms_type_check",
    "ALTER TABLE members DROP CONSTRAINT IF EXISTS members_role_check",
];

/// Every foreign key holds at every moment: the new tables refer to each other, and renaming the first takes the
/// references along. An outbox id is never given twice, so where its counter stands is kept, too.
const UP_SQLITE: [&str; 21] = [
    "CREATE TABLE rooms_open (
        id blob NOT NULL PRIMARY KEY,
        type text NOT NULL,
        title text,
        archived boolean NOT NULL,
        created_by blob NOT NULL,
        created_us bigint NOT NULL
    )",
    "CREATE TABLE members_open (
        room_id blob NOT NULL REFERENCES rooms_open (id),
        user_id blob NOT NULL,
        role text NOT NULL,
        joined_us bigint NOT NULL,
        PRIMARY KEY (room_id, user_id)
    )",
    "CREATE TABLE direct_pairs_open (
        low blob NOT NULL,
        high blob NOT NULL,
        room_id blob NOT NULL REFERENCES rooms_open (id),
        PRIMARY KEY (low, high)
    )",
    "CREATE TABLE outbox_open (
        id integer PRIMARY KEY AUTOINCREMENT,
        room_id blob NOT NULL REFERENCES rooms_open (id),
        item blob NOT NULL,
        kind text NOT NULL,
        op text NOT NULL,
        body text NOT NULL,
        actor blob NOT NULL
    )",
    "INSERT INTO rooms_open SELECT id, type, title, archived, created_by, created_us FROM rooms",
    "INSERT INTO members_open SELECT room_id, user_id, role, joined_us FROM members",
    "INSERT INTO direct_pairs_open SELECT low, high, room_id FROM direct_pairs",
    "INSERT INTO outbox_open SELECT id, room_id, item, kind, op, body, actor FROM outbox",
    "DELETE FROM sqlite_sequence WHERE name = 'outbox_open'",
    "INSERT INTO sqlite_sequence (name, seq)
        SELECT 'outbox_open', seq FROM sqlite_sequence WHERE name = 'outbox'",
    "DROP TABLE outbox",
    "DROP TABLE direct_pairs",
    "DROP TABLE members",
    "DROP TABLE rooms",
    "ALTER TABLE rooms_open RENAME TO rooms",
    "ALTER TABLE members_open RENAME TO members",
    "ALTER TABLE direct_pairs_open RENAME TO direct_pairs",
    "ALTER TABLE outbox_open RENAME TO outbox",
    "CREATE INDEX members_joined ON members (room_id, joined_us, user_id)",
    "CREATE INDEX members_user ON members (user_id, room_id)",
    "CREATE INDEX outbox_room ON outbox (room_id, id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if manager.get_database_backend() != DbBackend::Sqlite {
            return up_postgres(connection).await;
        }
        for statement in UP_SQLITE {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

/// The release before runs meanwhile: whoever waits long for a whole table makes all others wait.
async fn up_postgres(connection: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let started = Instant::now();
    loop {
        // Inside the migration's own transaction this is a savepoint: a failed try lets go of what it holds.
        let attempt = connection.begin().await?;
        match drop_lists(&attempt).await {
            Ok(()) => return attempt.commit().await,
            Err(error) if is_lock_timeout(&error) && started.elapsed() < LOCK_WAIT_MAX => {
                attempt.rollback().await?;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

fn is_lock_timeout(error: &DbErr) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        error
    else {
        return false;
    };
    matches!(&**cause, sqlx::Error::Database(refusal) if refusal.code().as_deref() == Some(LOCK_NOT_AVAILABLE))
}

async fn drop_lists(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    let patience = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}");
    connection.execute_unprepared(&patience).await?;
    for statement in UP_POSTGRES {
        connection.execute_unprepared(statement).await?;
    }
    Ok(())
}
