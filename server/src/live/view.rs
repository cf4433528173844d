//! A room's members and state as of a head: what reads and writes are judged by.

use crate::store::journal::Entry;
use roost_schema::{
    Epoch, ErrorCode, ItemId, Kind, MemberState, Op, Position, Role, RoomId, RoomState, Seq, UserId,
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
    /// With the seq of the entry that said so; `None` for a member who was removed.
    members: Arc<HashMap<ItemId, (Seq, Option<Role>)>>,
    state: Option<(Seq, Arc<RoomState>)>,
    pub(super) items: HashMap<ItemId, Entry>,
}

impl RoomView {
    pub(super) fn new(id: RoomId, epoch: Epoch, head: Seq) -> Self {
        Self {
            id,
            epoch,
            head,
            members: Arc::default(),
            state: None,
            items: HashMap::new(),
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

    pub fn is_archived(&self) -> bool {
        self.state.as_ref().is_some_and(|(_, state)| state.archived)
    }

    /// The newest entry of an item the write named, tombstones included.
    pub fn item(&self, item: ItemId) -> Option<&Entry> {
        self.items.get(&item)
    }

    pub(super) fn position(&self) -> Position {
        Position::new(self.epoch, self.head)
    }

    /// Takes in what an entry says of members and room; the newest entry of an item wins.
    pub(super) fn learn(&mut self, entry: &Entry) -> serde_json::Result<()> {
        match entry.kind {
            Kind::Member => {
                let known = self
                    .members
                    .get(&entry.item)
                    .map_or(Seq::ZERO, |(seq, _)| *seq);
                if entry.seq > known {
                    let role = match entry.op {
                        Op::Put => Some(entry.body.decode::<MemberState>()?.role),
                        Op::Delete => None,
                    };
                    Arc::make_mut(&mut self.members).insert(entry.item, (entry.seq, role));
                }
            }
            Kind::Room => {
                let known = self.state.as_ref().map_or(Seq::ZERO, |(seq, _)| *seq);
                if entry.seq > known && entry.op == Op::Put {
                    self.state = Some((entry.seq, Arc::new(entry.body.decode()?)));
                }
            }
            Kind::Session | Kind::Message => {}
        }
        Ok(())
    }

    /// The same without items: what readers are judged by.
    pub(super) fn snapshot(&self) -> Arc<Self> {
        Arc::new(Self {
            items: HashMap::new(),
            members: Arc::clone(&self.members),
            state: self.state.clone(),
            ..*self
        })
    }
}
