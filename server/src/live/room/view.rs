//! A room's members and state as of a head: what reads and writes are judged by.

use super::kept_items::KeptItems;
use crate::store::journal::Entry;
use roost_schema::{
    Body, Epoch, ErrorCode, ItemId, Kind, MemberState, Op, Position, Role, RoomId, RoomState, Seq,
    UserId,
};
use std::{collections::HashMap, sync::Arc};

/// What the room's own state says against a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub sentence: &'static str,
}

/// A room's members and state as of a head, and the items that the writes at hand look at.
#[derive(Clone, Debug)]
pub struct RoomView {
    id: RoomId,
    pub(super) epoch: Epoch,
    pub(super) head: Seq,
    /// Each member's role, with the seq of the entry that gave it. `None`: the member was removed, or the role cannot
    /// be read.
    members: Arc<HashMap<ItemId, (Seq, Option<Role>)>>,
    /// The room's state, with the seq of its entry. `None`: it cannot be read.
    state: (Seq, Option<Arc<RoomState>>),
    pub(super) items: KeptItems,
}

impl RoomView {
    pub(super) fn new(id: RoomId, epoch: Epoch, head: Seq) -> Self {
        Self {
            id,
            epoch,
            head,
            members: Arc::default(),
            state: (Seq::ZERO, None),
            items: KeptItems::default(),
        }
    }

    pub fn id(&self) -> RoomId {
        self.id
    }

    pub fn role_of(&self, user: UserId) -> Option<Role> {
        self.members.get(&ItemId::of_member(user))?.1
    }

    /// Where a reader's right to read ended; `None` while they are a member.
    pub(super) fn ended_at(&self, reader: ItemId) -> Option<Seq> {
        match self.members.get(&reader) {
            Some((_, Some(_))) => None,
            Some((seq, None)) => Some(*seq),
            // The member was removed before this instance loaded the room.
            None => Some(Seq::ZERO),
        }
    }

    /// Whether the room takes no writes. A room without a state that can be read counts as archived, because it may be.
    pub fn is_archived(&self) -> bool {
        match &self.state.1 {
            Some(state) => state.archived,
            None => !self.is_a_persons_own(),
        }
    }

    /// The room's state; `None`: it cannot be read, or the room is a person's own.
    pub fn state(&self) -> Option<&RoomState> {
        self.state.1.as_deref()
    }

    /// Whether this is a person's own room. There the room and the membership have one item id (`ItemId::of_room`,
    /// `ItemId::of_member`), so a load finds only the membership, which was written second. Such a room is never
    /// archived.
    fn is_a_persons_own(&self) -> bool {
        self.members.contains_key(&ItemId::of_room(self.id))
    }

    /// The newest entry of an item the write named, tombstones included.
    pub fn item(&self, item: ItemId) -> Option<&Entry> {
        self.items.get(item)
    }

    pub(super) fn position(&self) -> Position {
        Position::new(self.epoch, self.head)
    }

    /// Keeps an entry as the newest of its item, if its op sets the item's state.
    pub(super) fn keep(&mut self, entry: &Entry) {
        if entry.op.sets_state() {
            self.items.keep(entry.clone());
        }
    }

    /// Applies durable entries that follow the head. The kept items are bounded here, because a room that only follows
    /// other instances judges no writes.
    pub(super) fn advance(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.apply(entry);
            self.follow(entry);
            self.head = entry.seq;
        }
        self.items.shrink();
    }

    /// Replaces the entry of an item that is kept, if the op of the delivered one sets the item's state.
    fn follow(&mut self, entry: &Entry) {
        if entry.op.sets_state() {
            self.items.follow(entry);
        }
    }

    /// Applies an entry about a member or the room; the newest entry of an item wins. A load and a delivery follow the
    /// same rules: a member whose role cannot be read has no rights, and a room whose state cannot be read is archived.
    pub(super) fn apply(&mut self, entry: &Entry) {
        if !entry.op.sets_state() {
            return;
        }
        match entry.kind {
            Kind::Member => {
                let known = self.members.get(&entry.item);
                if entry.seq > known.map_or(Seq::ZERO, |(seq, _)| *seq) {
                    let role = role_given(&entry.op, &entry.body);
                    self.warn_of_unreadable(entry, role.is_none());
                    Arc::make_mut(&mut self.members).insert(entry.item, (entry.seq, role));
                }
            }
            Kind::Room if entry.seq > self.state.0 => {
                let state = entry.body.decode().ok().map(Arc::new);
                self.warn_of_unreadable(entry, state.is_none());
                self.state = (entry.seq, state);
            }
            Kind::Room => {}
            _ => self.apply_other_kind(entry),
        }
    }

    /// Applies an entry of another kind that has the item id of a member or of the room. The role or the state cannot
    /// be read from then on, and a load finds none either.
    fn apply_other_kind(&mut self, entry: &Entry) {
        let member = self.members.get(&entry.item);
        if member.is_some_and(|(seq, _)| entry.seq > *seq) {
            self.warn_of_unreadable(entry, true);
            Arc::make_mut(&mut self.members).insert(entry.item, (entry.seq, None));
        } else if entry.item == ItemId::of_room(self.id) && entry.seq > self.state.0 {
            self.warn_of_unreadable(entry, true);
            self.state = (entry.seq, None);
        }
    }

    fn warn_of_unreadable(&self, entry: &Entry, says_nothing: bool) {
        if says_nothing && entry.op == Op::Put {
            tracing::warn!(room.id = %self.id, entry.seq = %entry.seq, entry.kind = %entry.kind,
                "of another release, it may be: what cannot be read gives no rights");
        }
    }

    /// A copy without the items, which readers' rights do not depend on.
    pub(super) fn snapshot(&self) -> Arc<Self> {
        Arc::new(Self {
            items: KeptItems::default(),
            members: Arc::clone(&self.members),
            state: self.state.clone(),
            ..*self
        })
    }
}

/// The role that the newest entry of a membership gives.
pub(super) fn role_given(op: &Op, body: &Body) -> Option<Role> {
    match op {
        Op::Put => body.decode::<MemberState>().ok().map(|state| state.role),
        Op::Delete | Op::Other(_) => None,
    }
}

#[cfg(test)]
mod tests;
