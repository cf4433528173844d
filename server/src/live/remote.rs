//! Remote entries: what other instances announce of their writes, and what this one announces. They save a read, no
//! more: an entry that does not follow the view without a gap is read from the journal, a moment later.

use super::{deliveries::DeliverySource, mailbox::Mailbox, message, room::Missing};
use crate::store::journal::Entry;
use std::{ops::RangeInclusive, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long the announcement of an entry that the sweep found may be on its way. The journal shows an entry before its
/// writer is told that it is there, and only then can the writer announce it.
const EXPECTED_WAIT_MS: RangeInclusive<u64> = 300..=500;
/// How long a gap may wait for what fills it. The wait is random, so that instances do not all read at once.
const GAP_WAIT_MS: RangeInclusive<u64> = 50..=100;

impl Mailbox {
    /// Applies remote entries, as far as they follow the view without a gap.
    pub(super) fn apply_remote(&mut self) {
        if !self.is_loaded {
            return;
        }
        let (run, missing) = self.room.take_remote(self.view.epoch, self.view.head);
        if !run.is_empty() {
            self.rival_seen = Some(Instant::now());
            self.apply(&run, DeliverySource::Backplane);
            if self.stale == Some(DeliverySource::Race) {
                // The rival's entry has come, so the next slot is known without a read.
                self.stale = None;
            }
        }
        let (source, wait_ms) = match missing {
            Missing::Nothing => {
                self.gap = None;
                return;
            }
            Missing::Epoch => {
                self.stale = Some(DeliverySource::Repair);
                return;
            }
            // A stale view is read anew in any case.
            _ if self.stale.is_some() => {
                self.gap = None;
                return;
            }
            Missing::Gap => (DeliverySource::Repair, GAP_WAIT_MS),
            Missing::Expected => (DeliverySource::Sweep, EXPECTED_WAIT_MS),
        };
        let is_news = self.gap.is_none_or(|(_, waits_for)| waits_for != source);
        if is_news || !run.is_empty() {
            let wait = rand::random_range(wait_ms);
            self.gap = Some((Instant::now() + Duration::from_millis(wait), source));
        }
    }

    /// Waits for the journal, and applies remote entries meanwhile: the connection to the journal may be broken while that
    /// to the other instances is not.
    pub(super) async fn receive_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let room = Arc::clone(&self.room);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = room.news.notified() => self.apply_remote(),
            }
        }
    }

    /// Reads what is missing: it was not announced in time.
    pub(super) fn give_up_gap(&mut self) {
        if let Some((_, source)) = self.gap.take() {
            if source == DeliverySource::Repair {
                metrics::counter!("roost_reorder_repairs_total").increment(1);
            }
            self.stale = Some(source);
        }
    }

    /// Announces to the other instances what is in the journal now. Local readers have it already.
    pub(super) fn announce(&self, entries: &[Entry]) {
        if let Some(backplane) = &self.room.instance.backplane {
            let (room, epoch) = (self.room.id(), self.view.epoch);
            message::send_entries(backplane.as_ref(), room, epoch, entries);
        }
    }
}

pub(super) async fn gap_is_due(gap: Option<(Instant, DeliverySource)>) {
    match gap {
        Some((due, _)) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
