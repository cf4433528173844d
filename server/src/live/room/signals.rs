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

/// What came since the writer looked last.
#[derive(Default)]
pub(super) struct Pending {
    /// The journal may hold more than was delivered: read it.
    pub(super) is_hinted: bool,
    /// Where the journal was seen to stand, if the hint came from a look at its head.
    pub(super) seen: Option<Position>,
    /// The journal was seen to hold entries up to here.
    pub(super) expected: Seq,
    /// Entries that another instance announced.
    pub(super) remote: Reorder,
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
