//! Where facts are kept. Rows and documents never leave this module.

pub mod journal;
mod sql;

pub use sql::Sql;
