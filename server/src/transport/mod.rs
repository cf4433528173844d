//! The three ways in. Each turns a request into an actor and an input, calls one use case, and
//! renders the answer. No rule lives here.

mod graphql;
mod rest;
pub mod socketio;
