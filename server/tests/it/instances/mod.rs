//! Several instances on one database: who may run beside whom, whose tokens are good where, how a
//! revocation spreads, and what an instance does that cannot hear of one.

mod fence;
mod keys;
mod peers;
mod registry;
mod revocations;
mod speaks;
