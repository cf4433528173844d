//! How a replica reads the journal: loading the room, reading what it missed, and the items that writes look at.

use super::{Condition, Delivery, DeliverySource, Durable, Replica, RoomView};
use crate::store::journal::{Entry, FindQuery, FindRoom, Journal, JournalError};
use anyhow::anyhow;
use roost_schema::{Direction, Epoch, ItemId, Kind, Position, RoomId, Seq};
use std::{collections::HashSet, sync::Arc};

/// Bytes read from the journal at once.
const CATCH_UP_BYTES: usize = 1_024 * 1_024;
/// Members read at once when a room is loaded.
const LOAD_PAGE_ITEMS: usize = 1_000;

impl Replica {
    /// Reads what the journal holds beyond the view, entry by entry, and delivers it.
    pub(in crate::live::room) async fn catch_up(
        &mut self,
        source: DeliverySource,
    ) -> Result<(), JournalError> {
        let journal = Arc::clone(&self.room.instance.journal);
        let id = self.room.id();
        // Noted before the read is sent: only a head below it shows that the journal was taken back.
        let delivered = self.view.head;
        self.take_signals();
        // A hint that saw a higher seq in the same epoch saves a query for the head. A later query finds a journal that
        // was taken back, or another epoch.
        let is_further = |seen: Position| {
            self.is_loaded && seen.epoch == self.view.epoch && seen.seq > delivered
        };
        let seen = self.pending.take_seen();
        if !seen.is_some_and(is_further) {
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
            let durable = Durable::read(page.entries);
            self.apply(&durable, source);
            if self.announces_found {
                self.announce(&durable);
            }
            if !page.more {
                break;
            }
        }
        self.announces_found = false;
        self.stale = None;
        self.gap = None;
        self.retry.succeed();
        self.room.set_condition(Condition::Known);
        Ok(())
    }

    /// Loads the members and the room's state, and begins delivery at `head`.
    async fn load(&mut self, epoch: Epoch, head: Seq) -> Result<(), JournalError> {
        let id = self.room.id();
        let mut view = RoomView::new(id, epoch, head);
        let journal = &self.room.instance.journal;
        for entry in journal.items(id, &[ItemId::of_room(id)]).await? {
            view.apply(&entry);
        }
        for entry in &read_all(journal.as_ref(), id, &Kind::Member).await? {
            view.apply(entry);
        }
        self.view = view;
        self.is_loaded = true;
        // Signals from before this load say nothing of the journal that was loaded.
        self.take_signals();
        self.pending.forget_expected();
        let delivery = Delivery::new(self.view.snapshot());
        *self.room.delivery() = Some(delivery);
        self.room.show(self.view.position());
        Ok(())
    }

    /// Begins another epoch when a head is below what was delivered twice in a row. Then the journal was taken back,
    /// and readers must not be given the same seqs for other events.
    async fn distrust_head(&mut self, head: Seq) -> Result<(), JournalError> {
        self.heads_below += 1;
        if self.heads_below >= 2 {
            let known = self.view.epoch;
            let epoch = self.room.instance.journal.change_epoch(known).await?;
            tracing::error!(room.id = %self.room.id(), journal.head = %head, journal.epoch = %epoch,
                "the journal lost entries that were delivered; a new epoch starts");
        }
        // The next read, which comes soon, decides.
        Err(JournalError::Unavailable(anyhow!(
            "its head is below what was delivered"
        )))
    }

    /// Reads those of these items into the view that it does not hold. Returns those that cannot be read, while the
    /// others can.
    pub(in crate::live::room) async fn read_items(
        &mut self,
        items: &[ItemId],
    ) -> Result<Vec<ItemId>, JournalError> {
        let kept = &mut self.view.items;
        kept.shrink();
        let missing: HashSet<_> = items.iter().filter(|item| !kept.touch(**item)).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let missing: Vec<_> = missing.into_iter().copied().collect();
        match self.read_into_view(&missing).await {
            Err(JournalError::Unsound(_)) => {}
            read => return read.map(|()| Vec::new()),
        }
        let mut unreadable = Vec::new();
        for item in missing {
            match self.read_into_view(&[item]).await {
                Err(JournalError::Unsound(problem)) => {
                    tracing::error!(room.id = %self.room.id(), item.id = %item, problem, "an item cannot be read");
                    unreadable.push(item);
                }
                read => read?,
            }
        }
        Ok(unreadable)
    }

    async fn read_into_view(&mut self, items: &[ItemId]) -> Result<(), JournalError> {
        let journal = &self.room.instance.journal;
        for entry in journal.items(self.room.id(), items).await? {
            self.view.keep(&entry);
        }
        Ok(())
    }
}

/// Every living item of a kind in a room.
async fn read_all(
    journal: &dyn Journal,
    room: RoomId,
    kind: &Kind,
) -> Result<Vec<Entry>, JournalError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let beyond = entries.last().map(|entry| entry.born);
        let query = FindQuery::all(kind.clone(), Direction::Newer, LOAD_PAGE_ITEMS);
        let page = journal.find_in(FindRoom { room, beyond }, query).await?;
        let is_last = !page.more || page.entries.is_empty();
        entries.extend(page.entries);
        if is_last {
            return Ok(entries);
        }
    }
}
