//! Sockets, independent of the carrier: a table of commands, and the rooms a socket is in.
//!
//! A carrier, such as `socketio`, makes a [`Socket`] of each connection, calls the function of a command's row in the
//! [`table`], and provides a [`Reply`] and a [`Sender`].

mod begun;
mod commands;
mod presence;
mod rooms;
mod sender;
mod sessions;
mod socket;

pub(super) use begun::Begun;
pub(super) use commands::{Commands, one, table};
pub(super) use sender::{Gone, Reply, Sender};
pub(super) use sessions::follow as follow_sessions;
pub(super) use socket::{Caller, Socket};

use std::time::Duration;

/// How long a feed waits before it tries again to read its room. When the fence is shut, its socket is closed within
/// this time, or the fence is open again.
const READ_RETRY: Duration = Duration::from_millis(500);
