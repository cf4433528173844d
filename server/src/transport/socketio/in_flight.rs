//! Counts the packets of a session that were sent and have not left this process.

use std::collections::VecDeque;

/// A session with so many packets or bytes in flight is lagging: it gets no frames until it is at half of the bound.
const LAGGING_PACKETS: usize = 96;
const LAGGING_BYTES: u64 = 1 << 20;

/// Replies and control events may fill the engine's buffer up to here. The rest of it stays free for pings.
const REPLY_PACKETS_MAX: usize = 120;

/// The class of a packet decides how much of the buffer it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketClass {
    /// The journal can send it again, or its loss does no harm.
    Frame,
    /// An acknowledgement, or a control event about this socket.
    Reply,
}

/// The packets that were sent and have not left this process yet.
#[derive(Default)]
pub(super) struct InFlight {
    sent_bytes: u64,
    left_bytes: u64,
    /// Where each packet in flight ends, counted in bytes sent.
    ends: VecDeque<u64>,
    is_lagging: bool,
}

impl InFlight {
    pub(super) fn add(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
        self.ends.push_back(self.sent_bytes);
        self.is_lagging |= self.packets() >= LAGGING_PACKETS || self.bytes() >= LAGGING_BYTES;
    }

    pub(super) fn remove_last(&mut self, bytes: u64) {
        self.ends.pop_back();
        self.sent_bytes -= bytes;
    }

    /// Removes the packets that have left. `left_bytes`: all bytes that have left this process so far.
    pub(super) fn advance(&mut self, left_bytes: u64) {
        self.left_bytes = self.left_bytes.max(left_bytes);
        while self.ends.front().is_some_and(|end| *end <= self.left_bytes) {
            self.ends.pop_front();
        }
        // The engine writes packets of its own (pings, the handshake), which are not counted here. Whenever no packet
        // is in flight the count starts again from the bytes that were really written, so that the difference cannot
        // add up.
        if self.ends.is_empty() {
            self.sent_bytes = self.left_bytes;
        }
        if self.packets() <= LAGGING_PACKETS / 2 && self.bytes() <= LAGGING_BYTES / 2 {
            self.is_lagging = false;
        }
    }

    pub(super) fn admits(&self, class: PacketClass) -> bool {
        match class {
            PacketClass::Frame => !self.is_lagging,
            PacketClass::Reply => self.packets() < REPLY_PACKETS_MAX,
        }
    }

    pub(super) fn packets(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self) -> u64 {
        self.sent_bytes.saturating_sub(self.left_bytes)
    }
}

#[cfg(test)]
mod tests;
