//! Where facts are kept. Rows and documents never leave this module.

pub mod journal;
mod sql;

pub use sql::{DataLock, Sql, lock_data};

use journal::Journal;
use std::sync::Arc;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is too busy; nothing was written.
    #[error("the store is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// The connection broke while a transaction was being committed.
    #[error("the outcome of a transaction is unknown")]
    OutcomeUnknown(#[source] anyhow::Error),
    /// A fault of ours: a statement it does not understand, a row we cannot read.
    #[error("the store refuses")]
    Broken(#[source] anyhow::Error),
}

/// Relational facts, concrete and per noun, and the journal, which is a port.
#[derive(Clone)]
pub struct Store {
    pub sql: Sql,
    pub journal: Arc<dyn Journal>,
}
