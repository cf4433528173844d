//! The server's tests.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails there, with the line"
)]
#![expect(
    clippy::large_futures,
    reason = "a story waits for one thing at a time; what a future takes matters where thousands wait"
)]

mod access;
mod accounts;
mod acknowledgements;
mod architecture;
mod arrivals;
mod backplane;
mod chores;
mod cluster;
mod compat;
mod config;
mod doctor;
mod documents;
mod drain;
mod feed;
mod forwarded;
mod graphql;
mod health;
mod instances;
mod items;
mod journal;
mod kinds;
mod limits;
mod logs;
mod mailbox;
mod members;
mod origins;
mod outbox;
mod passwords;
mod presence;
mod refresh_tokens;
mod rest;
mod rooms;
mod serve;
mod sessions;
mod slow_store;
mod socketio;
mod status;
mod superseded;
mod support;
mod todos;
mod transports;
mod unanswered;
