//! Real programs and whole clusters of Roost, found or installed, started and stopped, for all that tests them.
//!
//! Roost itself is a program that is built and started here, not a library: this crate does not depend on the server's.
//! `servers` runs the real stores, Redis and Caddy; `roost` one instance; `peer` a server that it is measured beside; `cluster` instances behind Caddy; `base` builds
//! the release before; `tools` obtains all other programs. `process`, `ports`, `interrupt` and `workspace` are below these.

pub mod base;
pub mod cluster;
pub mod interrupt;
pub mod peer;
pub mod ports;
pub mod process;
pub mod roost;
pub mod servers;
pub mod tools;
pub mod workspace;
