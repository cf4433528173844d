//! Refresh tokens in one line: the generation of each, the keys, and from where a token was exchanged. The previous
//! release neither writes nor reads these columns, and its rows are carried on.

use crate::locks::retry_while_locked;
use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0011_refresh_lines"
    }
}

/// `spoken_since` keeps, for each number that instances speak, when an instance with a lower one was last registered.
/// The index serves the deletion of sessions that ended long ago; it has no rows of open ones, so that an exchange
/// does not write into it.
const UP: [&str; 8] = [
    "ALTER TABLE sessions ADD COLUMN token_key {bytes}",
    "ALTER TABLE sessions ADD COLUMN reused_us bigint",
    "ALTER TABLE refresh_tokens ADD COLUMN generation integer",
    "ALTER TABLE refresh_tokens ADD COLUMN next_key {bytes}",
    "ALTER TABLE refresh_tokens ADD COLUMN used_network text",
    "ALTER TABLE refresh_tokens ADD COLUMN used_agent {bytes}",
    "CREATE INDEX sessions_ended ON sessions (revoked_us) WHERE revoked_us IS NOT NULL",
    "CREATE TABLE spoken_since (
        number integer NOT NULL PRIMARY KEY,
        since_us bigint NOT NULL
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let is_sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        let bytes = if is_sqlite { "blob" } else { "bytea" };
        let up = UP.map(|statement| statement.replace("{bytes}", bytes));
        if is_sqlite {
            for statement in up {
                connection.execute_unprepared(&statement).await?;
            }
            return Ok(());
        }
        retry_while_locked(connection, &up.each_ref().map(String::as_str)).await
    }
}
