//! The signals from the rest of the instance to a room's writer: one value behind one lock, and one wake-up. Signals of
//! a kind are merged, so a writer that is busy finds each at most once, and its memory is bounded.

use super::reorder::Reorder;
use crate::store::journal::Entry;
use parking_lot::Mutex;
use roost_schema::{Epoch, Position, Seq};
use tokio::sync::Notify;

#[derive(Default)]
pub(in crate::live) struct Signals {
    pending: Mutex<Pending>,
    wake: Notify,
}

/// What signals brought and was not used yet.
#[derive(Default)]
pub(super) struct Pending {
    /// The journal may hold more than was delivered: read it.
    is_hinted: bool,
    /// Where the journal was seen to stand, if the hint came from a look at its head.
    seen: Option<Position>,
    /// The journal was seen to hold entries up to here.
    expected: Seq,
    /// Entries that other instances announced, of which some may have come before their predecessors.
    remote: Reorder,
}

/// What is missing after the entries that follow the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Nothing,
    /// Entries with a gap before them.
    Gap,
    /// Entries that the sweep has seen, and that no instance has announced.
    Expected,
    /// Entries of another epoch.
    Epoch,
}

impl Signals {
    /// Makes the writer read the journal.
    pub(in crate::live) fn hint(&self) {
        self.send(|pending| pending.is_hinted = true);
    }

    /// Makes the writer read the journal up to a head that was just seen, without a query for the head.
    pub(in crate::live) fn hint_at(&self, seen: Position) {
        self.send(|pending| {
            pending.is_hinted = true;
            pending.seen = Some(seen);
        });
    }

    /// The journal was seen to hold entries up to here, which may still be announced.
    pub(in crate::live) fn expect(&self, head: Seq) {
        self.send(|pending| pending.expected = pending.expected.max(head));
    }

    /// Keeps entries that another instance announced. What does not fit is read from the journal.
    pub(in crate::live) fn receive(&self, epoch: Epoch, entries: Vec<Entry>) {
        self.send(|pending| {
            if let Some(left_out) = pending.remote.insert(epoch, entries) {
                pending.expected = pending.expected.max(left_out);
            }
        });
    }

    fn send(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.pending.lock());
        self.wake.notify_one();
    }

    pub(super) fn take(&self) -> Pending {
        std::mem::take(&mut *self.pending.lock())
    }

    /// Resolves when a signal came since the last wake-up, whether or not it was taken in between.
    pub(super) async fn wake(&self) {
        self.wake.notified().await;
    }
}

impl Pending {
    /// Adds what came later.
    pub(super) fn merge(&mut self, later: Self) {
        self.is_hinted |= later.is_hinted;
        self.seen = later.seen.or(self.seen);
        self.expected = self.expected.max(later.expected);
        if let Some(left_out) = self.remote.merge(later.remote) {
            self.expected = self.expected.max(left_out);
        }
    }

    /// Whether a hint has come since the last call.
    pub(super) fn take_hint(&mut self) -> bool {
        std::mem::take(&mut self.is_hinted)
    }

    /// Where a hint since the last call saw the journal stand, if one did.
    pub(super) fn take_seen(&mut self) -> Option<Position> {
        self.seen.take()
    }

    /// Expects no entry but those that are announced.
    pub(super) fn forget_expected(&mut self) {
        self.expected = Seq::ZERO;
    }

    /// Takes the remote entries that follow a position without a gap. Answers what is missing after them, too.
    pub(super) fn take_run(&mut self, after: Position) -> (Vec<Entry>, Missing) {
        if self.remote.epoch().is_some_and(|it| it != after.epoch) {
            self.remote.clear();
            // `expected` may be of that epoch, too: it counts entries that did not fit.
            self.expected = after.seq;
            return (Vec::new(), Missing::Epoch);
        }
        let run = self.remote.take_after(after.seq);
        let head = run.last().map_or(after.seq, |entry| entry.seq);
        let missing = match self.remote.epoch() {
            Some(_) => Missing::Gap,
            None if self.expected > head => Missing::Expected,
            None => Missing::Nothing,
        };
        (run, missing)
    }
}
