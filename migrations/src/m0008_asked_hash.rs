//! The hash of an operation's request without its route, beside the hash that the previous release compares. The
//! previous release neither writes nor reads it.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_asked_hash"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if manager.get_database_backend() == DbBackend::Sqlite {
            let add = "ALTER TABLE journal ADD COLUMN asked_hash blob";
            return connection.execute_unprepared(add).await.map(drop);
        }
        let add = "ALTER TABLE journal ADD COLUMN asked_hash bytea";
        retry_while_locked(connection, &[add]).await
    }
}
