//! Remote entries: what other instances announce of their writes. They save a read, no more: an entry that does not follow
//! the view without a gap is read from the journal, a moment later.

use super::{deliveries::DeliverySource, durable::Durable, replica::Replica};
use crate::store::journal::Entry;
use std::{ops::RangeInclusive, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long the announcement of an entry that the sweep found may be on its way. The journal shows an entry before it
/// acknowledges it to the entry's writer, and only then can the writer announce it.
const EXPECTED_WAIT_MS: RangeInclusive<u64> = 300..=500;
/// How long a gap may wait for what fills it. The wait is random, so that instances do not all read at once.
const GAP_WAIT_MS: RangeInclusive<u64> = 50..=100;

/// What is missing after the entries that follow the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// Entries with a gap before them.
    Gap,
    /// Entries that the sweep has seen, and that no instance has announced.
    Expected,
    /// Entries of another epoch.
    Epoch,
}

impl Replica {
    /// Takes the pending signals, and applies remote entries as far as they follow the view without a gap.
    pub(super) fn apply_remote(&mut self) {
        self.take_signals();
        if !self.is_loaded {
            return;
        }
        let (run, missing) = self.take_run();
        let is_news = !run.is_empty();
        if is_news {
            self.note_rival();
            self.apply(&Durable::announced(run), DeliverySource::Backplane);
            if self.stale() == Some(DeliverySource::Race) {
                // The rival's entry has come, so the next slot is known without a read.
                self.mark_current();
            }
        }
        self.wait_for(missing, is_news);
    }

    /// Takes the signals that the rest of the instance has sent.
    pub(super) fn take_signals(&mut self) {
        let pending = self.room.signals.take();
        self.is_hinted |= pending.is_hinted;
        self.seen = pending.seen.or(self.seen);
        self.expected = self.expected.max(pending.expected);
        if let Some(left_out) = self.reorder.merge(pending.remote) {
            self.expected = self.expected.max(left_out);
        }
    }

    /// Whether a hint has come since the last call.
    pub(super) fn take_hint(&mut self) -> bool {
        std::mem::take(&mut self.is_hinted)
    }

    /// The remote entries that follow the head without a gap, and what is missing after them.
    fn take_run(&mut self) -> (Vec<Entry>, Missing) {
        if self.reorder.epoch().is_some_and(|it| it != self.view.epoch) {
            self.reorder.clear();
            // `expected` may be of that epoch, too: it counts entries that did not fit.
            self.expected = self.view.head;
            return (Vec::new(), Missing::Epoch);
        }
        let run = self.reorder.take_after(self.view.head);
        let head = run.last().map_or(self.view.head, |entry| entry.seq);
        let missing = match self.reorder.epoch() {
            Some(_) => Missing::Gap,
            None if self.expected > head => Missing::Expected,
            None => Missing::Nothing,
        };
        (run, missing)
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
            _ if self.stale().is_some() => {
                self.gap = None;
                return;
            }
            Missing::Gap => (DeliverySource::Repair, GAP_WAIT_MS),
            Missing::Expected => (DeliverySource::Sweep, EXPECTED_WAIT_MS),
        };
        let is_other = self.gap.is_none_or(|(_, waits_for)| waits_for != source);
        if is_other || is_news {
            let wait = rand::random_range(wait_ms);
            self.gap = Some((Instant::now() + Duration::from_millis(wait), source));
        }
    }

    /// Waits for the journal, and applies remote entries meanwhile: the connection to the journal may hang while the
    /// one to the other instances does not.
    pub(super) async fn receive_during<T>(&mut self, work: impl Future<Output = T>) -> T {
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
    pub(super) async fn gap_is_due(&self) {
        match self.gap {
            Some((due, _)) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Has missing entries read from the journal, because they were not announced in time.
    pub(super) fn give_up_gap(&mut self) {
        if let Some((_, source)) = self.gap.take() {
            if source == DeliverySource::Repair {
                metrics::counter!("roost_reorder_repairs_total").increment(1);
            }
            self.mark_behind(source);
        }
    }
}
