//! The server's tests.

mod access;
mod architecture;
mod members;
mod rooms;
mod support;
