//! The server's tests.

mod access;
mod architecture;
mod mailbox;
