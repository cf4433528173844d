//! Every developer command of Roost, as a library so that its tests and its commands share the real servers.
//!
//! `servers` finds, installs and runs the real programs; `tools` obtains everything else; each command has its own file.

pub mod assets;
pub mod base;
pub mod ci;
pub mod cluster;
pub mod compat;
pub mod conformance;
pub mod containers;
pub mod interrupt;
pub mod ports;
pub mod process;
pub mod prove;
pub mod repository;
pub mod roost;
pub mod schema;
pub mod servers;
pub mod test;
pub mod tools;
pub mod up;
pub mod workspace;
