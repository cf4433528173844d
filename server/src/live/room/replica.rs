//! What one instance knows of a room: a view that follows the journal entry by entry, the entries that wait for those before
//! them, and when the journal has to be read. It delivers what it applies to the room's readers here, and announces what
//! others may not know.

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
    /// The view is that of the journal at some head. Before that it is of nothing.
    pub(super) is_loaded: bool,
    /// The journal may hold more than the view, and why: it is read before the next write.
    stale: Option<DeliverySource>,
    /// Remote entries that wait for those before them.
    pub(super) reorder: Reorder,
    /// The journal was seen to hold entries up to here.
    pub(super) expected: Seq,
    /// Until when what is missing may still come by itself, and why it is read then.
    pub(super) gap: Option<(Instant, DeliverySource)>,
    /// The rest of the instance asked to have the journal read.
    pub(super) is_hinted: bool,
    /// Where the journal was seen to stand by who asked.
    pub(super) seen: Option<Position>,
    /// An outcome of this instance's is unknown: no other instance will announce it, so what is found is announced.
    pub(super) announces_found: bool,
    /// When another instance was last seen to write here.
    rival_seen: Option<Instant>,
    /// Reads in a row that showed a head below what was delivered before them.
    pub(super) heads_below: u32,
    /// Since when the journal cannot be read, though there is something to read.
    pub(super) unread_since: Option<Instant>,
    /// When it is read again after it could not be.
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

    /// Goes on from what readers were given; what was half done is read from the journal.
    pub(super) fn begin_anew(&mut self) {
        if let Some(delivery) = self.room.delivery().as_mut() {
            self.view = (*delivery.view()).clone();
            // The ring may lack what the view has: a reader that is behind reads the journal.
            *delivery = Delivery::new(delivery.view());
            self.room.show(self.view.position());
        } else {
            self.is_loaded = false;
        }
        self.gap = None;
        self.mark_stale(DeliverySource::Repair);
        self.announces_found = true;
    }

    /// Moves the view over durable entries, and delivers them to the room's readers. Those that the view has already are
    /// passed over.
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
        if let Some(delivery) = self.room.delivery().as_mut() {
            delivery.deliver(durable, self.view.snapshot());
        }
        self.room.show(self.view.position());
    }

    /// Announces to the other instances what is in the journal now. Local readers have it already.
    pub(super) fn announce(&self, durable: &Durable) {
        let instance = &self.room.instance;
        instance.announce_entries(self.room.id(), self.view.epoch, durable.all());
    }

    pub(super) const fn stale(&self) -> Option<DeliverySource> {
        self.stale
    }

    /// The view may not be what the journal holds: the head, and the items, are read before the next judgement.
    pub(super) fn mark_stale(&mut self, source: DeliverySource) {
        self.stale = Some(source);
        self.view.items.clear();
    }

    /// The same, where nothing was judged by the items since.
    pub(super) const fn mark_behind(&mut self, source: DeliverySource) {
        self.stale = Some(source);
    }

    pub(super) const fn mark_current(&mut self) {
        self.stale = None;
    }

    /// Reads what is missing, if something is and the last failure is long enough ago.
    pub(super) async fn try_catch_up(&mut self) {
        let Some(source) = self.stale.filter(|_| self.retry.is_due()) else {
            return;
        };
        if let Err(error) = self.catch_up(source).await {
            self.note_unread(&error);
        }
    }

    /// The journal is ahead and cannot be read: after a while the view gives no rights any more. No second try reads better
    /// what is damaged.
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

    /// What was read last is damaged, and will not be looked at again yet.
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

    /// Whether the view is what the journal holds.
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
