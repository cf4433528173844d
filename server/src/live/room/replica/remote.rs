//! Remote entries: what other instances announce of their writes. They save a read, no more: an entry that does not
//! follow the view without a gap is read from the journal, a moment later.

use super::{DeliverySource, Durable, Replica};
use crate::live::room::signals::Missing;
use std::{ops::RangeInclusive, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long the announcement of an entry that the sweep found may be on its way. The journal shows an entry before it
/// acknowledges it to the entry's writer, and only then can the writer announce it.
const EXPECTED_WAIT_MS: RangeInclusive<u64> = 300..=500;
/// How long a gap may wait for what fills it. The wait is random, so that instances do not all read at once.
const GAP_WAIT_MS: RangeInclusive<u64> = 50..=100;

/// Entries that are missing after those that follow the head.
pub(super) struct Gap {
    /// When they are read from the journal, unless they are announced before.
    due: Instant,
    /// Why they are read.
    source: DeliverySource,
}

impl Replica {
    /// Takes the pending signals, and applies remote entries as far as they follow the view without a gap.
    pub(in crate::live::room) fn apply_remote(&mut self) {
        self.take_signals();
        if !self.is_loaded {
            return;
        }
        let (run, missing) = self.pending.take_run(self.view.position());
        let is_news = !run.is_empty();
        if is_news {
            self.note_rival();
            self.apply(&Durable::announced(run), DeliverySource::Backplane);
            if self.stale == Some(DeliverySource::Race) {
                // The rival's entry has come, so the next slot is known without a read.
                self.stale = None;
            }
        }
        self.wait_for(missing, is_news);
    }

    /// Takes the signals that the rest of the instance has sent.
    pub(super) fn take_signals(&mut self) {
        self.pending.merge(self.room.signals.take());
    }

    /// Takes the signals, and marks the view as stale if one is a hint that the journal is ahead.
    pub(in crate::live::room) fn heed_hint(&mut self) {
        self.take_signals();
        if self.pending.take_hint() {
            self.mark_behind(DeliverySource::Sweep);
        }
    }

    /// Decides when missing entries are read from the journal, if they are not announced before.
    fn wait_for(&mut self, missing: Missing, is_news: bool) {
        let (source, wait_ms) = match missing {
            Missing::Nothing => {
                self.gap = None;
                return;
            }
            Missing::Epoch => return self.mark_behind(DeliverySource::Repair),
            // A stale view is caught up in any case.
            _ if self.is_stale() => {
                self.gap = None;
                return;
            }
            Missing::Gap => (DeliverySource::Repair, GAP_WAIT_MS),
            Missing::Expected => (DeliverySource::Sweep, EXPECTED_WAIT_MS),
        };
        let is_other = self.gap.as_ref().is_none_or(|gap| gap.source != source);
        if is_other || is_news {
            let wait = rand::random_range(wait_ms);
            let due = Instant::now() + Duration::from_millis(wait);
            self.gap = Some(Gap { due, source });
        }
    }

    /// Waits for the journal, and applies remote entries meanwhile: the connection to the journal may hang while the
    /// one to the other instances does not.
    pub(in crate::live::room) async fn receive_during<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> T {
        let room = Arc::clone(&self.room);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = room.signals.wake() => self.apply_remote(),
            }
        }
    }

    /// Resolves when missing entries are due to be read; never if none is missing.
    pub(in crate::live::room) async fn gap_is_due(&self) {
        match &self.gap {
            Some(gap) => sleep_until(gap.due).await,
            None => std::future::pending().await,
        }
    }

    /// Has missing entries read from the journal, because they were not announced in time.
    pub(in crate::live::room) fn give_up_gap(&mut self) {
        if let Some(Gap { source, .. }) = self.gap.take() {
            if source == DeliverySource::Repair {
                metrics::counter!("roost_reorder_repairs_total").increment(1);
            }
            self.mark_behind(source);
        }
    }
}
