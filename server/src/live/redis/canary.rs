//! What this instance sends itself each second, the way it sends to others: a link that looks whole
//! and carries nothing shows in nothing else.

use bytes::Bytes;
use fred::types::Message;
use std::time::Duration;
use tokio::time::Instant;

/// The canary that is out, and how many did not come back.
#[derive(Default)]
pub(super) struct Canary {
    number: u64,
    sent: Option<Instant>,
    missed: u32,
}

impl Canary {
    /// How many in a row are missing now.
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

    /// How long the newest one took; `None` for an older one.
    pub(super) fn came_back(&mut self, message: &Message) -> Option<Duration> {
        let number: u64 = message.value.as_string()?.parse().ok()?;
        if number != self.number {
            return None;
        }
        self.missed = 0;
        self.sent.take().map(|sent| sent.elapsed())
    }
}
