//! Several instances on one database: which may run together, where a token is valid, how a revocation spreads, and how
//! an instance behaves that cannot receive one.

mod fence;
mod keys;
mod peers;
mod registry;
mod revocations;
mod speaks;
