//! Every developer command of Roost, as a library so that tests can call one. Each command has its own file.
//!
//! The servers and clusters that the commands start are of `roost-testbed`, the proofs of `roost-proof`.

pub mod assets;
pub mod bench;
pub mod ci;
pub mod compat;
pub mod conformance;
pub mod containers;
pub mod repository;
pub mod schema;
pub mod servers;
pub mod test;
pub mod up;
