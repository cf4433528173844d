//! Connections to the relational database, with the durability the promises need.

use sea_orm::DatabaseConnection;

/// The relational database. On `SQLite` all writes share one connection, because `SQLite` has one
/// writer; on `PostgreSQL` both are the same pool.
#[derive(Clone, Debug)]
pub struct Sql {
    pub read: DatabaseConnection,
    pub write: DatabaseConnection,
}
