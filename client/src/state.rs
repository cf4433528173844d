//! The state of a room as a reader knows it: the newest event of each item, deletions included.

use roost_schema::{ItemId, Op, Position, RoomEvent, RoomEvents};
use std::collections::HashMap;

/// A room's items as of a position.
#[derive(Clone, Debug)]
pub struct RoomState {
    position: Position,
    /// A deleted item stays as its deletion event, so that an older page which arrives later does not bring it back.
    items: HashMap<ItemId, RoomEvent>,
}

impl RoomState {
    /// Begins with a frame of the room's full state.
    pub(crate) fn begin(frame: RoomEvents) -> (Self, Vec<RoomEvent>) {
        let mut state = Self {
            position: frame.position,
            items: HashMap::new(),
        };
        let events = state.apply(frame);
        (state, events)
    }

    /// Applies a frame; returns the events that were new. The event of an item with the highest seq wins, in any order of
    /// arrival. An event with an op of a later release is new, and changes no item.
    pub fn apply(&mut self, frame: RoomEvents) -> Vec<RoomEvent> {
        if frame.reset {
            self.items.clear();
        }
        self.position = frame.position;
        let mut news = frame.events;
        news.retain(|event| {
            let held = self.items.get(&event.item);
            held.is_none_or(|held| held.seq < event.seq)
        });
        for event in news.iter().filter(|event| event.op.sets_state()) {
            self.items.insert(event.item, event.clone());
        }
        news
    }

    /// Where to resume.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The newest event of each item that is not deleted.
    pub fn living(&self) -> impl Iterator<Item = &RoomEvent> {
        self.items.values().filter(|event| event.op == Op::Put)
    }

    /// The newest event of each item ever seen, deletions included.
    pub const fn items(&self) -> &HashMap<ItemId, RoomEvent> {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_schema::{Body, Kind, RoomId, Seq, UserId};

    fn event(item: ItemId, seq: u64, op: Op) -> RoomEvent {
        RoomEvent {
            seq: Seq(seq),
            item,
            kind: Kind::Message,
            op,
            body: Body::null(),
            actor: UserId::generate(),
            at: chrono::Utc::now(),
        }
    }

    fn frame(position: &str, events: Vec<RoomEvent>) -> RoomEvents {
        RoomEvents {
            room: RoomId::generate(),
            events,
            position: position.parse().unwrap(),
            live: true,
            reset: false,
        }
    }

    #[test]
    fn a_deletion_is_remembered() {
        let item = ItemId::generate();
        let (mut state, _) = RoomState::begin(frame("1.1", vec![event(item, 1, Op::Put)]));
        assert_eq!(
            state
                .apply(frame("1.3", vec![event(item, 3, Op::Delete)]))
                .len(),
            1
        );
        let late = state.apply(frame("1.3", vec![event(item, 2, Op::Put)]));
        assert!(late.is_empty());
        assert_eq!(state.living().count(), 0);
    }

    #[test]
    fn an_op_of_a_later_release_changes_no_item() {
        let item = ItemId::generate();
        let (mut state, _) = RoomState::begin(frame("1.1", vec![event(item, 1, Op::Put)]));
        let news = state.apply(frame("1.2", vec![event(item, 2, Op::from("append"))]));
        assert_eq!((news.len(), state.position().seq), (1, Seq(2)));
        assert_eq!(state.items()[&item].seq, Seq(1));
        assert_eq!(state.living().count(), 1);
    }

    #[test]
    fn a_reset_forgets_everything() {
        let gone = ItemId::generate();
        let (mut state, _) = RoomState::begin(frame("1.9", vec![event(gone, 9, Op::Put)]));
        let mut reset = frame("1.12", vec![event(ItemId::generate(), 12, Op::Put)]);
        reset.reset = true;
        state.apply(reset);
        assert_eq!(state.items().len(), 1);
        assert!(!state.items().contains_key(&gone));
    }
}
