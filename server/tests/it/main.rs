//! The server's tests.

mod access;
mod architecture;
mod config;
mod graphql;
mod health;
mod members;
mod outbox;
mod rooms;
mod serve;
mod support;
mod transports;
