//! The journal on a `MongoDB` replica set.

/// One document per entry.
pub struct MongoJournal;
