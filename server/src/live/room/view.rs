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
    /// With the seq of the entry that said so; `None` for a member who was removed, or whose role cannot be read.
    members: Arc<HashMap<ItemId, (Seq, Option<Role>)>>,
    /// The room's state by the entry of this seq; `None` if it cannot be read.
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
            // Removed before the room was loaded here.
            None => Some(Seq::ZERO),
        }
    }

    /// So is a room that says nothing of itself, or nothing that can be read: it may be that it takes no writes.
    pub fn is_archived(&self) -> bool {
        match &self.state.1 {
            Some(state) => state.archived,
            None => !self.is_a_persons_own(),
        }
    }

    /// In a person's own room the room and the membership have one item id (`ItemId::of_room`, `of_member`), so the
    /// membership, which comes second, is what a load finds there. Such a room is never archived.
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

    /// Keeps an entry as the state of its item, if it says how the item is.
    pub(super) fn keep(&mut self, entry: &Entry) {
        if entry.op.sets_state() {
            self.items.keep(entry.clone());
        }
    }

    /// The same for an entry that was delivered, if its item was looked at here.
    pub(super) fn follow(&mut self, entry: &Entry) {
        if entry.op.sets_state() {
            self.items.follow(entry);
        }
    }

    /// Takes in what an entry says of members and room; the newest entry of an item wins. When a room is loaded and when
    /// it is followed alike: a member whose role cannot be read has no rights, a room whose state cannot is archived.
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

    /// An entry of another kind in the place of a member, or of the room: of that nothing can be read any more, and a load
    /// finds nothing either.
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

    /// The same without items: what readers are judged by.
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
