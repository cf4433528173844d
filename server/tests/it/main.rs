//! The server's tests.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the answer")]

mod access;
mod architecture;
mod graphql;
mod members;
mod outbox;
mod rooms;
mod support;
