//! What a mailbox hears of other instances' writes, and tells them of its own. Hearsay only saves a
//! read: what does not follow the view without a hole is read from the journal, a moment later.

use super::{deliveries::Way, mailbox::Mailbox, message, room::Beyond};
use crate::store::journal::Entry;
use std::{ops::RangeInclusive, pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long what the sweep found may be on its way: the journal shows an entry before its writer is told that it is
/// there, and only then can the writer tell of it.
const EXPECTED_WAIT_MS: RangeInclusive<u64> = 300..=500;
/// How long a hole may wait for what fills it: from the first to the longest, so that instances do
/// not all read at once.
const HOLE_WAIT_MS: RangeInclusive<u64> = 50..=100;

impl Mailbox {
    /// Delivers what other instances told of, as far as it follows the view without a hole.
    pub(super) fn take_heard(&mut self) {
        if !self.is_loaded {
            return;
        }
        let (run, beyond) = self.room.take_heard(self.view.epoch, self.view.head);
        if !run.is_empty() {
            self.rival_seen = Some(Instant::now());
            self.take_in(&run, Way::Backplane);
            if self.behind == Some(Way::Race) {
                // Whoever won the slot has told of it: the next one is tried without a read.
                self.behind = None;
            }
        }
        let (way, wait_ms) = match beyond {
            Beyond::Nothing => {
                self.hole = None;
                return;
            }
            Beyond::Epoch => {
                self.behind = Some(Way::Repair);
                return;
            }
            // It is read as soon as the journal lets itself be read.
            _ if self.behind.is_some() => {
                self.hole = None;
                return;
            }
            Beyond::Hole => (Way::Repair, HOLE_WAIT_MS),
            Beyond::Expected => (Way::Sweep, EXPECTED_WAIT_MS),
        };
        let is_news = self.hole.is_none_or(|(_, waits_for)| waits_for != way);
        if is_news || !run.is_empty() {
            let wait = rand::random_range(wait_ms);
            self.hole = Some((Instant::now() + Duration::from_millis(wait), way));
        }
    }

    /// Waits for the journal, and goes on delivering what others tell meanwhile: the way to the journal may
    /// be broken while the way to them is not.
    pub(super) async fn hear_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let room = Arc::clone(&self.room);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = room.news.notified() => self.take_heard(),
            }
        }
    }

    /// What is missing did not come by itself: it is read.
    pub(super) fn give_up_hole(&mut self) {
        if let Some((_, way)) = self.hole.take() {
            if way == Way::Repair {
                metrics::counter!("roost_reorder_repairs_total").increment(1);
            }
            self.behind = Some(way);
        }
    }

    /// Tells the other instances what is in the journal now. Local readers have it already.
    pub(super) fn tell_others(&self, entries: &[Entry]) {
        if let Some(backplane) = &self.room.instance.backplane {
            let (room, epoch) = (self.room.id(), self.view.epoch);
            message::send_entries(backplane.as_ref(), room, epoch, entries);
        }
    }
}

pub(super) async fn hole_is_due(hole: Option<(Instant, Way)>) {
    match hole {
        Some((due, _)) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
