//! Rooms, their members, the two people of each direct conversation, and the outbox. Times are microseconds since 1970,
//! by database time.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::ConnectionTrait,
    sea_orm::DbBackend,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_rooms"
    }
}

/// The unique pair of a direct conversation holds the smaller id first, so that both people find the same row. An
/// outbox id is never given twice, not even after its row is deleted, because it is an operation id in the journal.
const UP: [&str; 7] = [
    "CREATE TABLE rooms (
        id {uuid} NOT NULL PRIMARY KEY,
        type text NOT NULL CHECK (type IN ('board', 'direct', 'group', 'personal')),
        title text,
        archived boolean NOT NULL,
        created_by {uuid} NOT NULL,
        created_us bigint NOT NULL
    )",
    "CREATE TABLE members (
        room_id {uuid} NOT NULL REFERENCES rooms (id),
        user_id {uuid} NOT NULL,
        role text NOT NULL CHECK (role IN ('owner', 'editor', 'commenter', 'viewer')),
        joined_us bigint NOT NULL,
        PRIMARY KEY (room_id, user_id)
    )",
    "CREATE INDEX members_joined ON members (room_id, joined_us, user_id)",
    "CREATE INDEX members_user ON members (user_id, room_id)",
    "CREATE TABLE direct_pairs (
        low {uuid} NOT NULL,
        high {uuid} NOT NULL,
        room_id {uuid} NOT NULL REFERENCES rooms (id),
        PRIMARY KEY (low, high)
    )",
    "CREATE TABLE outbox (
        id {identity},
        room_id {uuid} NOT NULL REFERENCES rooms (id),
        item {uuid} NOT NULL,
        kind text NOT NULL,
        op text NOT NULL,
        body text NOT NULL,
        actor {uuid} NOT NULL
    )",
    "CREATE INDEX outbox_room ON outbox (room_id, id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, identity) = match manager.get_database_backend() {
            DbBackend::Sqlite => ("blob", "integer PRIMARY KEY AUTOINCREMENT"),
            _ => (
                "uuid",
                "bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            ),
        };
        for statement in UP {
            let statement = statement
                .replace("{uuid}", uuid)
                .replace("{identity}", identity);
            manager
                .get_connection()
                .execute_unprepared(&statement)
                .await?;
        }
        Ok(())
    }
}
