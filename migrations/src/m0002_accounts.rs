//! Accounts: people, their sessions and refresh tokens, revocations, the operations outside of rooms, and the key that
//! signs access tokens. Times are microseconds since 1970, by database time.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::ConnectionTrait,
    sea_orm::DbBackend,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_accounts"
    }
}

/// `name_lower` is compared by a search for the beginning of a name; `{prefix}` lets an index serve LIKE under any
/// collation. A refresh token names the token it was exchanged for, so that reuse is judged per branch. A revoked
/// session keeps its row until it would have expired, so that its refresh tokens get the right error.
const UP: [&str; 13] = [
    "CREATE TABLE users (
        id {uuid} NOT NULL PRIMARY KEY,
        email text NOT NULL,
        name text NOT NULL,
        name_lower text NOT NULL,
        password_hash text NOT NULL,
        created_us bigint NOT NULL
    )",
    "CREATE UNIQUE INDEX users_email ON users (email)",
    "CREATE INDEX users_name ON users (name_lower {prefix})",
    "CREATE TABLE sessions (
        id {uuid} NOT NULL PRIMARY KEY,
        user_id {uuid} NOT NULL,
        name text NOT NULL,
        created_us bigint NOT NULL,
        last_used_us bigint NOT NULL,
        revoked_us bigint
    )",
    "CREATE INDEX sessions_user ON sessions (user_id, created_us)",
    "CREATE INDEX sessions_expiry ON sessions (last_used_us)",
    "CREATE TABLE refresh_tokens (
        hash {bytes} NOT NULL PRIMARY KEY,
        session_id {uuid} NOT NULL,
        parent {bytes},
        issued_us bigint NOT NULL,
        used_us bigint
    )",
    "CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id, issued_us)",
    "CREATE TABLE revocations (
        session_id {uuid} NOT NULL PRIMARY KEY,
        at_us bigint NOT NULL
    )",
    "CREATE INDEX revocations_at ON revocations (at_us)",
    "CREATE TABLE operations (
        owner text NOT NULL,
        op_id text NOT NULL,
        request_hash {bytes} NOT NULL,
        result text NOT NULL,
        at_us bigint NOT NULL,
        PRIMARY KEY (owner, op_id)
    )",
    "CREATE INDEX operations_at ON operations (at_us)",
    "CREATE TABLE signing_keys (
        id smallint NOT NULL PRIMARY KEY CHECK (id = 1),
        private_pem text NOT NULL
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, bytes, prefix) = match manager.get_database_backend() {
            DbBackend::Sqlite => ("blob", "blob", ""),
            _ => ("uuid", "bytea", "text_pattern_ops"),
        };
        for statement in UP {
            let statement = statement
                .replace("{uuid}", uuid)
                .replace("{bytes}", bytes)
                .replace("{prefix}", prefix);
            manager
                .get_connection()
                .execute_unprepared(&statement)
                .await?;
        }
        Ok(())
    }
}
