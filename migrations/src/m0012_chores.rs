//! When each chore of the cluster is due, so that one instance does it, and the events that the journal refused. The
//! previous release knows neither: it does each chore by itself. Times are microseconds since 1970, by database time.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::ConnectionTrait,
    sea_orm::DbBackend,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0012_chores"
    }
}

/// `id` is the one that the event's row in the outbox had. It repeats when the database was restored from a backup.
const UP: [&str; 2] = [
    "CREATE TABLE chores (
        name text NOT NULL PRIMARY KEY,
        due_us bigint NOT NULL
    )",
    "CREATE TABLE outbox_refused (
        number {identity},
        id bigint NOT NULL,
        room_id {uuid} NOT NULL,
        item {uuid} NOT NULL,
        kind text NOT NULL,
        op text NOT NULL,
        body text NOT NULL,
        actor {uuid} NOT NULL,
        reason text NOT NULL,
        refused_us bigint NOT NULL
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, identity) = match manager.get_database_backend() {
            DbBackend::Sqlite => ("blob", "integer PRIMARY KEY"),
            _ => (
                "uuid",
                "bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            ),
        };
        let connection = manager.get_connection();
        for statement in UP {
            let statement = statement
                .replace("{uuid}", uuid)
                .replace("{identity}", identity);
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }
}
