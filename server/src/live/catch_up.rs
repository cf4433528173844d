//! How a mailbox learns what the journal holds: loading the room, and reading what it missed.

use super::{
    LiveError, RoomView, bus::Delivery, deliveries::DeliverySource, mailbox::Mailbox,
    room::Condition, write::PendingWrite,
};
use crate::store::journal::{Entry, JournalError};
use anyhow::anyhow;
use roost_schema::{Epoch, ItemId, Kind, Position, Seq};
use std::{collections::HashSet, sync::Arc};

/// Bytes read from the journal at once.
const CATCH_UP_BYTES: usize = 1_024 * 1_024;

impl Mailbox {
    /// Reads what the journal holds beyond the view, entry by entry, and delivers it.
    pub(super) async fn catch_up(&mut self, source: DeliverySource) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.room.instance.journal);
        let id = self.room.id();
        // Noted before the read is sent: only a head below this can mean a journal taken back.
        let delivered = self.view.head;
        // Further on in the same epoch: what else there may be to find out is found out with the next look.
        let is_further = |seen: &Position| {
            self.is_loaded && seen.epoch == self.view.epoch && seen.seq > delivered
        };
        if !self.room.take_seen().as_ref().is_some_and(is_further) {
            let heads = self.receive_during(journal.heads(&[id])).await?;
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
            let page = self.receive_during(log).await?;
            self.apply(&page.entries, source);
            if self.tells_what_it_finds {
                self.announce(&page.entries);
            }
            if !page.more {
                break;
            }
        }
        self.tells_what_it_finds = false;
        self.stale = None;
        self.gap = None;
        self.unread_since = None;
        self.retry.succeed();
        self.room.set_condition(Condition::Known);
        Ok(())
    }

    /// Loads the members and the room's state as they stand, and delivers from `head` on.
    async fn load(&mut self, epoch: Epoch, head: Seq) -> Result<(), JournalError> {
        let id = self.room.id();
        let mut view = RoomView::new(id, epoch, head);
        let journal = &self.room.instance.journal;
        for entry in journal.items(id, &[ItemId::of_room(id)]).await? {
            view.learn(&entry);
        }
        let members = super::read_all(journal.as_ref(), id, &Kind::Member).await?;
        for entry in &members {
            view.learn(entry);
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
        // A second look tells, and it comes soon.
        Err(JournalError::Unavailable(anyhow!(
            "its head is below what was delivered"
        )))
    }

    /// Moves the view over entries that are in the journal and tells the room's readers. Those that were
    /// heard of meanwhile are told once.
    pub(super) fn apply(&mut self, entries: &[Entry], source: DeliverySource) {
        let known = entries.partition_point(|entry| entry.seq <= self.view.head);
        let entries = entries.get(known..).unwrap_or_default();
        let Some(newest) = entries.last() else {
            return;
        };
        let instance = &self.room.instance;
        instance.deliveries.count(source, self.room.id(), entries);
        for entry in entries {
            self.view.learn(entry);
            self.view.follow(entry);
        }
        self.view.head = newest.seq;
        if let Some(delivery) = self.room.delivery().as_mut() {
            delivery.deliver(entries, self.view.snapshot());
        }
        self.room.announce(self.view.position());
    }

    /// Reads the items that the waiting writes look at and the view does not hold. A write that looks at one that cannot
    /// be read is answered so, and leaves `waiting`; the others go on.
    pub(super) async fn read_items(
        &mut self,
        waiting: &mut Vec<PendingWrite>,
    ) -> Result<(), JournalError> {
        self.view.items.shrink();
        let missing: HashSet<_> = waiting
            .iter()
            .filter(|mail| !mail.write.is_new)
            .map(|mail| mail.write.item)
            .filter(|item| !self.view.items.touch(*item))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<_> = missing.into_iter().collect();
        match self.read_into_view(&missing).await {
            Err(JournalError::Unsound(_)) => {}
            read => return read,
        }
        for item in missing {
            match self.read_into_view(&[item]).await {
                Err(JournalError::Unsound(problem)) => {
                    tracing::error!(room.id = %self.room.id(), item.id = %item, problem, "an item cannot be read");
                    for mail in waiting.extract_if(.., |mail| mail.write.item == item) {
                        mail.answer(Err(LiveError::Unsound));
                    }
                }
                read => read?,
            }
        }
        Ok(())
    }

    async fn read_into_view(&mut self, items: &[ItemId]) -> Result<(), JournalError> {
        let journal = &self.room.instance.journal;
        for entry in journal.items(self.room.id(), items).await? {
            self.view.keep(&entry);
        }
        Ok(())
    }
}
