//! What clients of a socket may ask and what they hear, whatever carries it: a table of commands, and the rooms a socket is in.
//!
//! A carrier, such as `socketio`, makes a [`Socket`] of each connection, gives every command of the [`table`] to the function that
//! stands there, and brings it a [`Reply`] and a [`Sender`].

mod commands;
mod presence;
mod rooms;
mod sender;
mod sessions;
mod socket;

pub(super) use commands::{Commands, table};
pub(super) use sender::{Gone, Reply, Sender};
pub(super) use sessions::follow as follow_sessions;
pub(super) use socket::{Caller, Socket};

use std::time::Duration;

/// How long a feed waits before it looks again whether its room can be read: behind the fence its socket is closed before, or
/// the fence is open.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
