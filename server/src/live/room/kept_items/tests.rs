//! Which items stay in memory, and which make room.

use super::*;
use crate::store::journal::{RequestHash, Terms};
use roost_schema::{Body, Kind, Op, RoomId, Seq, UserId};

pub(in crate::live::room) fn entry(item: ItemId, seq: u64, body_bytes: usize) -> Entry {
    Entry {
        room: RoomId::generate(),
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

#[test]
fn what_was_used_last_stays_and_no_more_than_the_bytes() {
    let mut kept = KeptItems::default();
    let items: Vec<_> = (0..10_000).map(|_| ItemId::generate()).collect();
    for (seq, item) in (1..).zip(&items) {
        kept.keep(entry(*item, seq, 100));
        assert!(kept.touch(items[0]));
        kept.shrink();
        assert!(kept.bytes <= KEPT_BYTES_MAX);
    }
    let is_here = |item: &&ItemId| kept.get(**item).is_some();
    assert!(items.iter().rev().take(500).all(|item| is_here(&item)));
    assert_eq!(items.iter().take(1_000).filter(is_here).count(), 1);
}

/// A term may be longer than a body. A kind names few terms, but those of a later release are carried along.
#[test]
fn terms_count_as_bytes() {
    let mut kept = KeptItems::default();
    let items: Vec<_> = (0..100).map(|_| ItemId::generate()).collect();
    let terms = |n| Term::from_kept(format!("later:{n}{}", "x".repeat(1_000)));
    for (seq, item) in (1..).zip(&items) {
        let terms = Terms::new((0..8).map(terms));
        kept.keep(Entry {
            terms,
            ..entry(*item, seq, 10)
        });
        kept.shrink();
    }
    let count = items.iter().filter(|item| kept.get(**item).is_some());
    assert!((20..33).contains(&count.count()));
    assert!(kept.are_bounded());
}

#[test]
fn a_newer_entry_takes_the_place_of_the_older() {
    let mut kept = KeptItems::default();
    let item = ItemId::generate();
    for seq in 1..1_000 {
        kept.keep(entry(item, seq, 10_000));
    }
    kept.shrink();
    assert_eq!(kept.get(item).unwrap().seq, Seq(999));
    assert!(kept.bytes < 11_000);
    kept.clear();
    assert!(!kept.touch(item) && kept.bytes == 0);
}

#[test]
fn one_that_is_larger_than_all_is_kept_until_it_was_judged() {
    let mut kept = KeptItems::default();
    let item = ItemId::generate();
    kept.keep(entry(item, 1, 2 * KEPT_BYTES_MAX));
    assert!(kept.get(item).is_some());
    kept.shrink();
    assert!(kept.get(item).is_none() && kept.bytes == 0);
}
