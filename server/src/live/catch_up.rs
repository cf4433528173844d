//! How a mailbox learns what the journal holds: loading the room, and reading what it missed.

use super::{
    RoomView,
    bus::Delivery,
    deliveries::Way,
    mailbox::{ITEMS_KEPT_MAX, Mailbox},
};
use crate::store::journal::{Entry, JournalError};
use roost_schema::{Epoch, ItemId, Kind, Position, Seq};
use std::sync::{Arc, atomic::Ordering};

/// Bytes read from the journal at once.
const CATCH_UP_BYTES: usize = 1_024 * 1_024;

impl Mailbox {
    /// Reads what the journal holds beyond the view, entry by entry, and delivers it.
    pub(super) async fn catch_up(&mut self, way: Way) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.room.instance.journal);
        let id = self.room.id();
        // Noted before the read is sent: only a head below this can mean a journal taken back.
        let delivered = self.view.head;
        // Further on in the same epoch: what else there may be to find out is found out with the next look.
        let is_further = |seen: &Position| {
            self.is_loaded && seen.epoch == self.view.epoch && seen.seq > delivered
        };
        if !self.room.take_seen().as_ref().is_some_and(is_further) {
            let heads = self.hear_during(journal.heads(&[id])).await?;
            let head = heads.rooms.get(&id).copied().unwrap_or_default().head;
            if !self.is_loaded || heads.epoch != self.view.epoch {
                self.load(heads.epoch, head).await?;
            } else if head < delivered {
                return self.distrust_head(head).await;
            }
            self.heads_below = 0;
        }
        loop {
            let log = journal.log(id, self.view.head, CATCH_UP_BYTES);
            let page = self.hear_during(log).await?;
            self.take_in(&page.entries, way);
            if self.tells_what_it_finds {
                self.tell_others(&page.entries);
            }
            if !page.more {
                break;
            }
        }
        self.tells_what_it_finds = false;
        self.behind = None;
        self.hole = None;
        self.unread_since = None;
        self.room.is_stale.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Loads the members and the room's state as they stand, and delivers from `head` on.
    async fn load(&mut self, epoch: Epoch, head: Seq) -> Result<(), JournalError> {
        let id = self.room.id();
        let mut view = RoomView::new(id, epoch, head);
        let journal = &self.room.instance.journal;
        for entry in journal.items(id, &[ItemId::of_room(id)]).await? {
            view.learn(&entry).map_err(|error| unsound(&error))?;
        }
        let members = super::read_all(journal.as_ref(), id, Kind::Member).await?;
        for entry in &members {
            view.learn(entry).map_err(|error| unsound(&error))?;
        }
        self.view = view;
        self.is_loaded = true;
        self.room.expect_nothing();
        let delivery = Delivery::new(self.view.snapshot());
        *self.room.delivery() = Some(delivery);
        self.room.announce(self.view.position());
        Ok(())
    }

    /// A head below what was delivered, twice in a row, is a journal that was taken back: readers
    /// must not be given the same numbers for other events, so another epoch starts.
    async fn distrust_head(&mut self, head: Seq) -> Result<(), JournalError> {
        self.heads_below += 1;
        if self.heads_below >= 2 {
            let known = self.view.epoch;
            let epoch = self.room.instance.journal.change_epoch(known).await?;
            tracing::error!(room.id = %self.room.id(), journal.head = %head, journal.epoch = %epoch,
                "the journal lost entries that were delivered; a new epoch starts");
        }
        Err(JournalError::Unsound(
            "its head is below what was delivered".to_owned(),
        ))
    }

    /// Moves the view over entries that are in the journal and tells the room's readers. Those that were
    /// heard of meanwhile are told once.
    pub(super) fn take_in(&mut self, entries: &[Entry], way: Way) {
        let known = entries.partition_point(|entry| entry.seq <= self.view.head);
        let entries = entries.get(known..).unwrap_or_default();
        let Some(newest) = entries.last() else {
            return;
        };
        let instance = &self.room.instance;
        instance.deliveries.count(way, self.room.id(), entries);
        for entry in entries {
            if let Err(error) = self.view.learn(entry) {
                tracing::error!(room.id = %self.room.id(), entry.seq = %entry.seq, %error,
                    "an entry's body cannot be read");
            }
            if self.view.items.len() > ITEMS_KEPT_MAX {
                self.view.items.clear();
            }
            self.view.items.insert(entry.item, entry.clone());
        }
        self.view.head = newest.seq;
        if let Some(delivery) = self.room.delivery().as_mut() {
            delivery.deliver(entries, self.view.snapshot());
        }
        self.room.announce(self.view.position());
    }
}

fn unsound(error: &serde_json::Error) -> JournalError {
    JournalError::Unsound(format!("a body cannot be read: {error}"))
}
