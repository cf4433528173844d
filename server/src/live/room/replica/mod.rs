//! What one instance knows of a room: a view that follows the journal entry by entry, remote entries that came before
//! their predecessors, and when the journal has to be read. It delivers what it applies to the room's readers here, and
//! announces entries that other instances may not know.
//!
//! No other module sees its fields. It reads the journal in `catch_up.rs`, and takes what other instances announce in
//! `remote.rs`.

mod catch_up;
mod remote;

use super::{
    ActiveRoom, Condition, Damage,
    deliveries::DeliverySource,
    delivery::Delivery,
    durable::Durable,
    judging::{Judged, judge},
    retry::Retry,
    signals::Pending,
    view::RoomView,
    write::PendingWrite,
};
use crate::store::journal::{Entry, JournalError};
use chrono::{DateTime, Utc};
use remote::Gap;
use roost_schema::{Epoch, OpId, Seq, UserId};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A writer on another instance whose entries came this recently is a rival.
const RIVAL_RECENT: Duration = Duration::from_millis(250);
/// How long the journal may be ahead of a room without being read, before rights are no longer judged by the view.
const STALE_AFTER: Duration = Duration::from_secs(2);

pub(super) struct Replica {
    room: Arc<ActiveRoom>,
    view: RoomView,
    /// Whether the room was loaded. Before that, the view is empty and says nothing of the journal.
    is_loaded: bool,
    /// Why the journal may hold more than the view, if it may: it is read before the next write.
    stale: Option<DeliverySource>,
    /// What signals brought and was not used yet.
    pending: Pending,
    /// The missing entries, if there are any.
    gap: Option<Gap>,
    /// Whether entries that are found in the journal are announced. An append of this instance ended without an answer:
    /// if its entries are there, no other instance announces them.
    announces_found: bool,
    /// When another instance was last seen to write here.
    rival_seen: Option<Instant>,
    /// Reads in a row that showed a head below what was delivered before them.
    heads_below: u32,
    /// When the journal is read again after a failed read.
    retry: Retry,
}

impl Replica {
    pub(super) fn new(room: Arc<ActiveRoom>) -> Self {
        Self {
            view: RoomView::new(room.id(), Epoch(0), Seq::ZERO),
            room,
            is_loaded: false,
            stale: Some(DeliverySource::Sweep),
            pending: Pending::default(),
            gap: None,
            announces_found: false,
            rival_seen: None,
            heads_below: 0,
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

    /// Judges writes on the view, which keeps what they would make. If not all of that is committed, the view is to be
    /// marked as stale.
    pub(super) fn judge(&mut self, waiting: Vec<PendingWrite>, at: DateTime<Utc>) -> Judged {
        judge(&mut self.view, waiting, at)
    }

    /// Applies entries that this instance has committed, and announces them.
    pub(super) fn commit(&mut self, durable: &Durable) {
        self.apply(durable, DeliverySource::Local);
        self.announce(durable);
    }

    /// Applies durable entries to the view, and delivers them to the room's readers. Entries that the view has are
    /// skipped.
    fn apply(&mut self, durable: &Durable, source: DeliverySource) {
        let entries = durable.beyond(self.view.head);
        if entries.is_empty() {
            return;
        }
        let deliveries = &self.room.instance.deliveries;
        deliveries.count(source, self.room.id(), entries);
        self.view.advance(entries);
        if let Some(delivery) = self.room.delivery().as_mut() {
            delivery.deliver(durable, self.view.snapshot());
        }
        self.room.show(self.view.position());
    }

    /// Announces durable entries to the other instances. Local readers have them already.
    fn announce(&self, durable: &Durable) {
        let instance = &self.room.instance;
        instance.announce_entries(self.room.id(), self.view.epoch, durable.all());
    }

    /// The newest entry that the view has.
    pub(super) const fn head(&self) -> Seq {
        self.view.head
    }

    /// Evicts items that the view kept for the writes that were judged.
    pub(super) fn shrink_items(&mut self) {
        self.view.items.shrink();
    }

    pub(super) const fn is_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// Marks the view as stale: the journal is read before the next write is judged. Drops the items, among which a
    /// batch that was judged and not committed may have left its entries.
    pub(super) fn mark_stale(&mut self, source: DeliverySource) {
        self.stale = Some(source);
        self.view.items.clear();
    }

    /// Marks the view as stale and keeps its items. Only for use where no batch was judged since the last commit.
    const fn mark_behind(&mut self, source: DeliverySource) {
        self.stale = Some(source);
    }

    /// Reads the journal if the view is stale.
    pub(super) async fn catch_up_if_stale(&mut self) -> Result<(), JournalError> {
        match self.stale {
            Some(source) => self.catch_up(source).await,
            None => Ok(()),
        }
    }

    /// Reads the journal if the view is stale and the pause after the last failure is over.
    pub(super) async fn try_catch_up(&mut self) {
        if self.retry.is_due()
            && let Err(error) = self.catch_up_if_stale().await
        {
            self.note_unread(&error);
        }
    }

    /// Resolves when the pause after a failed read is over; never if the last read succeeded.
    pub(super) async fn retry_is_due(&self) {
        self.retry.due().await;
    }

    /// Notes that the journal is ahead and cannot be read. The view gives no rights any more: at once if the journal is
    /// damaged, because no second try reads that better; else after `STALE_AFTER`.
    pub(super) fn note_unread(&mut self, error: &JournalError) {
        let is_first = self.retry.fail(error);
        if let Some(damage) = self.damage() {
            self.room.set_condition(Condition::Damaged(damage));
            tracing::error!(room.id = %self.room.id(), %error, "the room cannot be read; it is left alone");
            return;
        }
        let is_stale = self.retry.failing_for() > STALE_AFTER;
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

    /// Notes that another writer took the slot of an append.
    pub(super) fn lose_race(&mut self) {
        self.note_rival();
        self.mark_stale(DeliverySource::Race);
    }

    /// Notes that an append of this instance ended without an answer: what the next read finds is announced.
    pub(super) const fn note_unanswered_append(&mut self) {
        self.announces_found = true;
    }

    fn note_rival(&mut self) {
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
