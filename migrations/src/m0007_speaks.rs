//! What each instance understands of other releases. An instance of the previous release does not fill it in, and so
//! registers as 0.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_speaks"
    }
}

const UP: &str = "ALTER TABLE instances ADD COLUMN speaks integer NOT NULL DEFAULT 0";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if manager.get_database_backend() != DbBackend::Sqlite {
            return retry_while_locked(connection, &[UP]).await;
        }
        connection.execute_unprepared(UP).await.map(drop)
    }
}
