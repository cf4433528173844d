//! Items of any kind, by the routes that all kinds share.

mod batches;
mod finding;
mod restoring;
mod routes;
