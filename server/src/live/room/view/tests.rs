//! A view that only follows what other instances write.

use super::*;
use crate::store::journal::{RequestHash, Terms};

fn entry(room: RoomId, item: ItemId, seq: u64, body_bytes: usize) -> Entry {
    Entry {
        room,
        seq: Seq(seq),
        item,
        kind: Kind::Message,
        op: Op::Put,
        body: Body::encode(&"x".repeat(body_bytes)).unwrap(),
        actor: UserId::generate(),
        op_id: None,
        request_hash: RequestHash([0; 32]),
        asked_hash: None,
        at: chrono::Utc::now(),
        born: Seq(seq),
        terms: Terms::default(),
        current: true,
    }
}

/// The items were small when a write here looked at them. Another instance makes them large.
#[test]
fn a_room_that_only_follows_keeps_its_items_within_the_bound() {
    let room = RoomId::generate();
    let mut view = RoomView::new(room, Epoch(1), Seq(100));
    let items: Vec<_> = (0..100).map(|_| ItemId::generate()).collect();
    for (seq, item) in (1..).zip(&items) {
        view.keep(&entry(room, *item, seq, 1));
    }
    for (seq, item) in (101..).zip(&items) {
        view.advance(&[entry(room, *item, seq, 20_000)]);
        assert_eq!(view.head, Seq(seq));
        assert!(view.items.are_bounded());
    }
}
