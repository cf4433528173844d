//! Roles and types of rooms become text, so that this release keeps the values of a later one. The CHECKs with the
//! known values are dropped. A table of `SQLite` cannot lose a CHECK, so there the tables are created anew, with the
//! tables that refer to them.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_open_words"
    }
}

const UP_POSTGRES: [&str; 3] = [
    "LOCK TABLE rooms, members IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE rooms DROP CONSTRAINT IF EXISTS rooms_type_check",
    "ALTER TABLE members DROP CONSTRAINT IF EXISTS members_role_check",
];

/// Every foreign key holds at every moment: the new tables refer to each other, and renaming the first one renames the
/// references. The outbox keeps its id counter, because an outbox id is never given twice.
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
            return retry_while_locked(connection, &UP_POSTGRES).await;
        }
        for statement in UP_SQLITE {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
