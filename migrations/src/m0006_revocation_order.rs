//! The transaction that wrote each revocation, on `PostgreSQL`: rows become visible in the order in which their
//! transactions commit, which no clock gives. `SQLite` has one writer and needs no such column.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::DbBackend,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_revocation_order"
    }
}

/// The default is added by a separate step, so that existing rows have no transaction. The default also applies to
/// inserts of the previous release, which does not know the column.
const UP: [&str; 3] = [
    "ALTER TABLE revocations ADD COLUMN xact bigint",
    "ALTER TABLE revocations
        ALTER COLUMN xact SET DEFAULT (pg_current_xact_id()::text::bigint)",
    "CREATE INDEX revocations_xact ON revocations (xact)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            return Ok(());
        }
        retry_while_locked(manager.get_connection(), &UP).await
    }
}
