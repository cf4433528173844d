//! Counts the sockets of this instance, for operators.

use super::{engine_session::EngineSessions, in_flight::PacketClass};

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketStats {
    /// Sessions that are connected to the namespace.
    pub(crate) connected: usize,
    /// Connected sessions that do not read as fast as they are written to.
    pub(crate) lagging: usize,
}

impl EngineSessions {
    pub(crate) fn stats(&self) -> SocketStats {
        let mut connected = self.all();
        connected.retain(|session| session.is_connected() && !session.has_ended());
        let lagging = connected
            .iter()
            .filter(|session| !session.admits(PacketClass::Frame));
        SocketStats {
            lagging: lagging.count(),
            connected: connected.len(),
        }
    }
}
