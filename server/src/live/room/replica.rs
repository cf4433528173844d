//! What one instance knows of a room: a view that follows the journal entry by entry, remote entries that came before
//! their predecessors, and when the journal has to be read. It delivers what it applies to the room's readers here, and
//! announces entries that other instances may not know.

use super::{
    ActiveRoom, Condition, Damage, deliveries::DeliverySource, delivery::Delivery,
    durable::Durable, reorder::Reorder, retry::Retry, view::RoomView,
};
use crate::store::journal::{Entry, JournalError};
use roost_schema::{Epoch, OpId, Position, Seq, UserId};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A writer on another instance whose entries came this recently is a rival.
const RIVAL_RECENT: Duration = Duration::from_millis(250);
/// How long the journal may be ahead of a room without being read, before rights are no longer judged by the view.
const STALE_AFTER: Duration = Duration::from_secs(2);

pub(super) struct Replica {
    pub(super) room: Arc<ActiveRoom>,
    pub(super) view: RoomView,
    /// Whether the room was loaded. Before that, the view is empty and says nothing of the journal.
    pub(super) is_loaded: bool,
    /// Why the journal may hold more than the view, if it may: it is read before the next write.
    stale: Option<DeliverySource>,
    /// Remote entries that came before their predecessors.
    pub(super) reorder: Reorder,
    /// The highest seq that the journal was seen to hold.
    pub(super) expected: Seq,
    /// When missing entries are read from the journal, unless they are announced before; and why they are read.
    pub(super) gap: Option<(Instant, DeliverySource)>,
    /// The rest of the instance asked to have the journal read.
    pub(super) is_hinted: bool,
    /// The journal's position as the sender of the hint saw it.
    pub(super) seen: Option<Position>,
    /// Whether entries that are found in the journal are announced. An append of this instance ended without an answer:
    /// if its entries are there, no other instance announces them.
    pub(super) announces_found: bool,
    /// When another instance was last seen to write here.
    rival_seen: Option<Instant>,
    /// Reads in a row that showed a head below what was delivered before them.
    pub(super) heads_below: u32,
    /// When a read of the journal first failed, if none has succeeded since.
    pub(super) unread_since: Option<Instant>,
    /// When the journal is read again after a failed read.
    pub(super) retry: Retry,
}

impl Replica {
    pub(super) fn new(room: Arc<ActiveRoom>) -> Self {
        Self {
            view: RoomView::new(room.id(), Epoch(0), Seq::ZERO),
            room,
            is_loaded: false,
            stale: Some(DeliverySource::Sweep),
            reorder: Reorder::default(),
            expected: Seq::ZERO,
            gap: None,
            is_hinted: false,
            seen: None,
            announces_found: false,
            rival_seen: None,
            heads_below: 0,
            unread_since: None,
            retry: Retry::default(),
        }
    }

    /// Begins again after a panic, with the view that readers were given. What was half done is read from the journal.
    pub(super) fn begin_anew(&mut self) {
        if let Some(delivery) = self.room.delivery().as_mut() {
            self.view = (*delivery.view()).clone();
            // The ring may lack entries that the view has. It is emptied, so a reader that is behind reads the journal.
            *delivery = Delivery::new(delivery.view());
            self.room.show(self.view.position());
        } else {
            self.is_loaded = false;
        }
        self.gap = None;
        self.mark_stale(DeliverySource::Repair);
        self.announces_found = true;
    }

    /// Applies durable entries to the view, and delivers them to the room's readers. Entries that the view has are
    /// skipped.
    pub(super) fn apply(&mut self, durable: &Durable, source: DeliverySource) {
        let entries = durable.beyond(self.view.head);
        let Some(newest) = entries.last() else {
            return;
        };
        let deliveries = &self.room.instance.deliveries;
        deliveries.count(source, self.room.id(), entries);
        for entry in entries {
            self.view.apply(entry);
            self.view.follow(entry);
        }
        self.view.head = newest.seq;
        // A room that only follows others never judges, and is bounded here.
        self.view.items.shrink();
        if let Some(delivery) = self.room.delivery().as_mut() {
            delivery.deliver(durable, self.view.snapshot());
        }
        self.room.show(self.view.position());
    }

    /// Announces durable entries to the other instances. Local readers have them already.
    pub(super) fn announce(&self, durable: &Durable) {
        let instance = &self.room.instance;
        instance.announce_entries(self.room.id(), self.view.epoch, durable.all());
    }

    pub(super) const fn stale(&self) -> Option<DeliverySource> {
        self.stale
    }

    /// Marks the view as stale: the journal is read before the next write is judged. Drops the items, among which a
    /// batch that was judged and not committed may have left its entries.
    pub(super) fn mark_stale(&mut self, source: DeliverySource) {
        self.stale = Some(source);
        self.view.items.clear();
    }

    /// Marks the view as stale and keeps its items. Only for use where no batch was judged since the last commit.
    pub(super) const fn mark_behind(&mut self, source: DeliverySource) {
        self.stale = Some(source);
    }

    pub(super) const fn mark_current(&mut self) {
        self.stale = None;
    }

    /// Reads the journal if the view is stale and the pause after the last failure is over.
    pub(super) async fn try_catch_up(&mut self) {
        let Some(source) = self.stale.filter(|_| self.retry.is_due()) else {
            return;
        };
        if let Err(error) = self.catch_up(source).await {
            self.note_unread(&error);
        }
    }

    /// Notes that the journal is ahead and cannot be read. The view gives no rights any more: at once if the journal is
    /// damaged, because no second try reads that better; else after `STALE_AFTER`.
    pub(super) fn note_unread(&mut self, error: &JournalError) {
        let since = *self.unread_since.get_or_insert_with(Instant::now);
        let is_first = self.retry.fail(error);
        if let Some(damage) = self.damage() {
            self.room.set_condition(Condition::Damaged(damage));
            tracing::error!(room.id = %self.room.id(), %error, "the room cannot be read; it is left alone");
            return;
        }
        let is_stale = since.elapsed() > STALE_AFTER;
        self.room.set_condition(if is_stale {
            Condition::Stale
        } else {
            Condition::Known
        });
        if is_first {
            tracing::warn!(room.id = %self.room.id(), %error, "cannot catch up, retrying");
        }
    }

    /// The damage that the last read found, until the pause after it is over.
    pub(super) fn damage(&self) -> Option<Damage> {
        self.retry.damage()
    }

    pub(super) fn note_rival(&mut self) {
        self.rival_seen = Some(Instant::now());
    }

    pub(super) fn has_rival(&self) -> bool {
        let seen = self.rival_seen;
        seen.is_some_and(|seen| seen.elapsed() < RIVAL_RECENT)
    }

    /// Whether the view is at the journal's head.
    pub(super) async fn is_at_head(&self) -> Result<bool, JournalError> {
        let id = self.room.id();
        let heads = self.room.instance.journal.heads(&[id]).await?;
        let head = heads.rooms.get(&id).copied().unwrap_or_default().head;
        Ok(heads.epoch == self.view.epoch && head == self.view.head)
    }

    /// The entries that these operations made.
    pub(super) async fn look_up(
        &self,
        operations: &[(UserId, OpId)],
    ) -> Result<HashMap<(UserId, OpId), Entry>, JournalError> {
        if operations.is_empty() {
            return Ok(HashMap::new());
        }
        let journal = &self.room.instance.journal;
        let found = journal.operations(self.room.id(), operations).await?;
        let with_key = |entry: Entry| Some(((entry.actor, entry.op_id.clone()?), entry));
        Ok(found.into_iter().filter_map(with_key).collect())
    }
}
