//! The room journal: one row per entry, one row per room that has a floor, one row for the epoch.
//!
//! `journal_slot` is the sequencer: its unique pair (room, seq) decides which of two rival writers was first.
//! `journal_operation` makes a retry visible. Writers recognise the violated index by its name.

use sea_orm_migration::{
    DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait, sea_orm::ConnectionTrait,
    sea_orm::DbBackend,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_journal"
    }
}

/// `size_bytes` comes before the body, so that a page can be cut without reading bodies. An emptied entry keeps its row
/// and has neither body nor op id.
const UP: [&str; 10] = [
    "CREATE TABLE journal (
        room {uuid} NOT NULL,
        seq bigint NOT NULL,
        item {uuid} NOT NULL,
        kind text NOT NULL,
        op text NOT NULL,
        actor {uuid} NOT NULL,
        op_id text,
        request_hash {bytes} NOT NULL,
        at_ms bigint NOT NULL,
        born bigint NOT NULL,
        is_current boolean NOT NULL,
        size_bytes bigint NOT NULL,
        body text
    )",
    "CREATE UNIQUE INDEX journal_slot ON journal (room, seq)",
    "CREATE UNIQUE INDEX journal_operation ON journal (room, actor, op_id) WHERE op_id IS NOT NULL",
    "CREATE INDEX journal_item ON journal (room, item, seq)",
    "CREATE INDEX journal_changes ON journal (room, seq) WHERE is_current",
    "CREATE INDEX journal_history ON journal (room, kind, born) WHERE is_current",
    "CREATE INDEX journal_superseded ON journal (at_ms) WHERE NOT is_current AND body IS NOT NULL",
    "CREATE INDEX journal_tombstones ON journal (at_ms) WHERE is_current AND op = 'delete'",
    "CREATE TABLE journal_floor (room {uuid} NOT NULL PRIMARY KEY, floor bigint NOT NULL)",
    "CREATE TABLE journal_epoch (
        id smallint NOT NULL PRIMARY KEY CHECK (id = 1),
        epoch bigint NOT NULL CHECK (epoch > 0)
    )",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (uuid, bytes) = match manager.get_database_backend() {
            DbBackend::Sqlite => ("blob", "blob"),
            _ => ("uuid", "bytea"),
        };
        for statement in UP {
            let statement = statement.replace("{uuid}", uuid).replace("{bytes}", bytes);
            manager
                .get_connection()
                .execute_unprepared(&statement)
                .await?;
        }
        Ok(())
    }
}
