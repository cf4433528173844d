//! Servers that are measured beside Roost, as small as their libraries let them be. `../README.md` says why they are fair.

pub mod bare;
pub mod shapes;
pub mod signals;
pub mod store;
pub mod tokens;
