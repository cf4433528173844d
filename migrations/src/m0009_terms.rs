//! The terms by which items are found: those of each entry, and a row for each term of an item. The previous release
//! neither writes nor reads them.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_terms"
    }
}

/// The table is its primary key's index, because every query reads a range of that index.
const UP: [&str; 2] = [
    "ALTER TABLE journal ADD COLUMN terms text",
    "CREATE TABLE journal_terms (
        term text {collation} NOT NULL,
        room {uuid} NOT NULL,
        kind text {collation} NOT NULL,
        born bigint NOT NULL,
        item {uuid} NOT NULL,
        PRIMARY KEY (term, room, kind, born)
    ) {options}",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let is_sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        // PostgreSQL compares terms byte by byte, as SQLite does.
        let (uuid, collation, options) = if is_sqlite {
            ("blob", "", "WITHOUT ROWID")
        } else {
            ("uuid", "COLLATE \"C\"", "")
        };
        let up = UP.map(|statement| {
            let statement = statement.replace("{uuid}", uuid);
            let statement = statement.replace("{collation}", collation);
            statement.replace("{options}", options)
        });
        let connection = manager.get_connection();
        if is_sqlite {
            for statement in up {
                connection.execute_unprepared(&statement).await?;
            }
            return Ok(());
        }
        retry_while_locked(connection, &up.each_ref().map(String::as_str)).await
    }
}
