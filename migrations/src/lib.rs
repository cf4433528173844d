//! The relational schema, one file per migration, oldest first.
//!
//! A migration only expands the schema, and a later one contracts it: the previous release must run on the new schema.
//! A released migration is never edited.

mod locks;
mod m0001_journal;
mod m0002_accounts;
mod m0003_rooms;
mod m0004_instances;
mod m0005_open_words;
mod m0006_revocation_order;
mod m0007_speaks;
mod m0008_asked_hash;
mod m0009_terms;
mod m0010_row_hashes;
mod m0011_refresh_lines;
mod m0012_chores;

pub use sea_orm_migration::MigratorTrait;

use sea_orm_migration::{MigrationTrait, async_trait};

/// The migrations that bring a database to the schema of this release.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_journal::Migration),
            Box::new(m0002_accounts::Migration),
            Box::new(m0003_rooms::Migration),
            Box::new(m0004_instances::Migration),
            Box::new(m0005_open_words::Migration),
            Box::new(m0006_revocation_order::Migration),
            Box::new(m0007_speaks::Migration),
            Box::new(m0008_asked_hash::Migration),
            Box::new(m0009_terms::Migration),
            Box::new(m0010_row_hashes::Migration),
            Box::new(m0011_refresh_lines::Migration),
            Box::new(m0012_chores::Migration),
        ]
    }
}
