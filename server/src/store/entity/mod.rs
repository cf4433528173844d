//! The rows of the relational nouns, as sea-orm's queries know them: a file for each table, columns as the migrations made
//! them on both databases. Ids are bare here and get their types where a row becomes what the store answers.

pub(super) mod direct_pair;
pub(super) mod instance;
pub(super) mod member;
mod micros;
pub(super) mod operation;
pub(super) mod revocation;
pub(super) mod room;
pub(super) mod session;
pub(super) mod user;

pub(super) use micros::Micros;
