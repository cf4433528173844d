//! Messages that are encoded and decoded again, and those that cannot be read.

use super::*;
use crate::store::journal::{RequestHash, Terms};
use chrono::DateTime;
use roost_schema::{Body, ItemId, Kind, Op, OpId, Seq, UserId};

fn entry(op_id: Option<OpId>) -> Entry {
    Entry {
        room: RoomId::generate(),
        seq: Seq(7),
        item: ItemId::generate(),
        kind: Kind::Member,
        op: Op::Delete,
        body: Body::null(),
        actor: UserId::generate(),
        op_id,
        request_hash: RequestHash([7; 32]),
        asked_hash: None,
        at: DateTime::UNIX_EPOCH,
        born: Seq(3),
        terms: Terms::default(),
        current: true,
    }
}

/// Also entries that the relay wrote, whose operation ids no client may send, and emptied ones.
#[test]
fn every_entry_of_the_journal_can_be_told() {
    let chosen: OpId = "chosen".parse().unwrap();
    let entries = [Some(chosen), Some(OpId::reserved("outbox.5")), None].map(entry);
    let sent = Message::Events {
        room: RoomId::generate(),
        epoch: Epoch(2),
        entries: entries.to_vec(),
    };
    let bytes = serde_json::to_vec(&sent).unwrap();
    let Some(Message::Events {
        entries: received, ..
    }) = Message::decode(&bytes)
    else {
        panic!("not understood: {}", String::from_utf8_lossy(&bytes));
    };
    assert_eq!(received, entries);
}

#[test]
fn an_entry_that_cannot_be_read_costs_no_other() {
    let mut poll = entry(None);
    poll.kind = Kind::from("poll");
    poll.op = Op::from("append");
    let entries = [poll, entry(None), entry(None), entry(None)];
    let sent = Message::Events {
        room: RoomId::generate(),
        epoch: Epoch(2),
        entries: entries.to_vec(),
    };
    let mut sent = serde_json::to_value(&sent).unwrap();
    let mut received = |broken: usize| {
        sent["events"]["entries"][broken]["at"] = "later".into();
        match Message::decode(&serde_json::to_vec(&sent).unwrap()) {
            Some(Message::Events { entries, .. }) => entries,
            _ => Vec::new(),
        }
    };
    let [first, second, _, last] = entries;
    assert_eq!(received(2), [first, second.clone(), last.clone()]);
    assert_eq!(received(0), [second, last.clone()]);
    assert_eq!(received(1), [last]);
    assert_eq!(received(3), []);
    assert!(Message::decode(br#"{"poll":{}}"#).is_none());
}
