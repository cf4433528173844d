//! The seal of each journal entry, by which a read notices a changed bit. The previous release neither writes nor reads
//! it.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0010_row_hashes"
    }
}

const COLUMNS: [&str; 3] = ["salt", "body_hash", "row_hash"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let is_sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        let bytes = if is_sqlite { "blob" } else { "bytea" };
        let add = COLUMNS.map(|column| format!("ALTER TABLE journal ADD COLUMN {column} {bytes}"));
        if is_sqlite {
            for statement in add {
                connection.execute_unprepared(&statement).await?;
            }
            return Ok(());
        }
        retry_while_locked(connection, &add.each_ref().map(String::as_str)).await
    }
}
