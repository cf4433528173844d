//! A view that only follows what other instances write.

use super::*;
use crate::live::room::kept_items::tests::entry;

/// The items were small when a write here looked at them. Another instance makes them large.
#[test]
fn a_room_that_only_follows_keeps_its_items_within_the_bound() {
    let mut view = RoomView::new(RoomId::generate(), Epoch(1), Seq(100));
    let items: Vec<_> = (0..100).map(|_| ItemId::generate()).collect();
    for (seq, item) in (1..).zip(&items) {
        view.keep(&entry(*item, seq, 1));
    }
    for (seq, item) in (101..).zip(&items) {
        view.advance(&[entry(*item, seq, 20_000)]);
        assert_eq!(view.head, Seq(seq));
        assert!(view.items.are_bounded());
    }
}
