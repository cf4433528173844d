//! The rows of the relational nouns as sea-orm's queries use them: a file for each table, with the columns that the
//! migrations made. Ids are plain UUIDs here; the store gives them their types when it converts a row.

pub(super) mod direct_pair;
pub(super) mod instance;
pub(super) mod member;
mod micros;
pub(super) mod operation;
pub(super) mod refresh_token;
pub(super) mod revocation;
pub(super) mod room;
pub(super) mod session;
pub(super) mod spoken_since;
mod token_key;
pub(super) mod user;

pub(super) use micros::Micros;
pub(super) use token_key::TokenKey;
