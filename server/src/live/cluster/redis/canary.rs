//! A canary: a message that this instance publishes to itself each second. Only a missing canary shows that a
//! connection is open and carries no messages.

use bytes::Bytes;
use fred::types::Message;
use std::time::Duration;
use tokio::time::Instant;

/// The newest canary, and how many in a row did not come back.
#[derive(Default)]
pub(super) struct Canary {
    number: u64,
    sent: Option<Instant>,
    missed: u32,
}

impl Canary {
    /// Counts the newest canary as missing if it did not come back; returns how many in a row are missing.
    pub(super) fn missed(&mut self) -> u32 {
        if self.sent.take().is_some() {
            self.missed += 1;
            metrics::counter!("roost_backplane_canaries_missed_total").increment(1);
        }
        self.missed
    }

    pub(super) fn next(&mut self) -> Bytes {
        self.number += 1;
        self.sent = Some(Instant::now());
        self.number.to_string().into()
    }

    /// The round trip of the newest canary; `None` for an older one.
    pub(super) fn came_back(&mut self, message: &Message) -> Option<Duration> {
        let number: u64 = message.value.as_string()?.parse().ok()?;
        if number != self.number {
            return None;
        }
        self.missed = 0;
        self.sent.take().map(|sent| sent.elapsed())
    }
}
