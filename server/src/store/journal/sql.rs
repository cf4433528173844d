//! The journal on `PostgreSQL` or `SQLite`.

/// One row per entry.
pub struct SqlJournal;
