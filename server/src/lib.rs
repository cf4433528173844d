//! Layers, outermost first. A layer may use the ones below it and never the ones above:
//!
//! `boot` → `transport` → `app` → `live` → `store` → `roost-schema`
//!
//! `doctor` stands beside `boot`: both put things together, and only they name backends.
//!
//! `transport` never names sea-orm, mongodb or fred; `app` never names axum, async-graphql or
//! socketioxide; of `store`, `live` names only `store::journal`. `tests/it/architecture.rs` checks it.

pub mod app;
pub mod boot;
pub mod config;
pub mod doctor;
pub mod live;
pub mod store;
pub mod telemetry;
pub mod transport;
