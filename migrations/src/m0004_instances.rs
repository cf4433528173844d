//! The instances that run on this database, each under a lease. Times are microseconds since 1970,
//! by database time.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::ConnectionTrait,
    sea_orm::DbBackend,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_instances"
    }
}

/// One row for each run of the server: a restarted instance gets a new row.
const UP: &str = "CREATE TABLE instances (
        id {uuid} NOT NULL PRIMARY KEY,
        name text NOT NULL,
        version text NOT NULL,
        has_redis boolean NOT NULL,
        started_us bigint NOT NULL,
        lease_us bigint NOT NULL
    )";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let uuid = match manager.get_database_backend() {
            DbBackend::Sqlite => "blob",
            _ => "uuid",
        };
        let statement = UP.replace("{uuid}", uuid);
        let connection = manager.get_connection();
        connection.execute_unprepared(&statement).await.map(drop)
    }
}
