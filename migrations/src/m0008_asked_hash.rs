//! What an operation asked for, whatever route it came on, beside what the release before compares. That one writes none,
//! and reads none.

use crate::patient::patiently;
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
        patiently(connection, &[add]).await
    }
}
