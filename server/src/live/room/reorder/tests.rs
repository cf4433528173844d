//! Remote entries that arrive out of order, and the bounds of what is held back.

use super::*;
use crate::store::journal::{RequestHash, Terms};
use chrono::DateTime;
use roost_schema::{Body, ItemId, Kind, Op, RoomId, UserId};

fn entry(seq: u64) -> Entry {
    Entry {
        room: RoomId::generate(),
        seq: Seq(seq),
        item: ItemId::generate(),
        kind: Kind::Message,
        op: Op::Put,
        body: Body::encode(&"x".repeat(1_000)).unwrap(),
        actor: UserId::generate(),
        op_id: None,
        request_hash: RequestHash([0; 32]),
        asked_hash: None,
        at: DateTime::UNIX_EPOCH,
        born: Seq(seq),
        terms: Terms::default(),
        current: true,
    }
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}

#[test]
fn a_hole_holds_back_what_follows_it() {
    let mut reorder = Reorder::default();
    reorder.insert(Epoch(1), vec![entry(5), entry(3), entry(3), entry(2)]);
    assert_eq!(seqs(&reorder.take_after(Seq(2))), [3]);
    assert!(reorder.take_after(Seq(3)).is_empty());
    reorder.insert(Epoch(1), vec![entry(4)]);
    assert_eq!(seqs(&reorder.take_after(Seq(3))), [4, 5]);
    assert_eq!((reorder.bytes, reorder.epoch()), (0, None));
}

#[test]
fn another_epoch_empties_it_and_its_size_is_bounded() {
    let mut reorder = Reorder::default();
    let left_out = reorder.insert(Epoch(1), (2..3_000).map(entry).collect());
    assert_eq!(left_out, Some(Seq(2_999)));
    assert!(reorder.waiting.len() <= WAITING_ENTRIES_MAX && reorder.bytes <= WAITING_BYTES_MAX);
    let mut merged = Reorder::default();
    assert_eq!(merged.insert(Epoch(1), vec![entry(1)]), None);
    assert!(merged.merge(std::mem::take(&mut reorder)) < Some(Seq(3_000)));
    assert_eq!(merged.take_after(Seq(0)).first().unwrap().seq, Seq(1));
    assert_eq!(
        merged.insert(Epoch(1), (5_000..9_000).map(entry).collect()),
        Some(Seq(8_999))
    );
    let _ = reorder.insert(Epoch(2), vec![entry(1)]);
    assert_eq!(seqs(&reorder.take_after(Seq(0))), [1]);
}
