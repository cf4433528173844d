//! Entries as a mailbox would make them, and a plain list that gives the expected answers of a journal.

use chrono::{DateTime, Utc};
use roost_schema::{Body, ItemId, Kind, Op, OpId, RoomId, Seq, UserId};
use roost_server::store::journal::{Entry, Gate, Journal, OpenGate, RequestHash, Terms};
use std::sync::Arc;

/// The first entry of a new item, by a new person, with an operation of its own.
pub(super) fn entry(room: RoomId, seq: u64) -> Entry {
    let item = ItemId::generate();
    Entry {
        room,
        seq: Seq(seq),
        item,
        kind: Kind::Message,
        op: Op::Put,
        body: body(&format!("{{\"text\":\"number {seq}\"}}")),
        actor: UserId::generate(),
        op_id: Some(OpId::from_kept(item.to_string())),
        request_hash: RequestHash([seq.to_le_bytes()[0]; 32]),
        // Every other entry has no such hash, like those of an earlier release.
        asked_hash: seq.is_multiple_of(2).then_some(RequestHash([9; 32])),
        at: now(),
        born: Seq(seq),
        terms: Terms::default(),
        current: true,
    }
}

/// `count` first entries of new items, beginning at a seq.
pub(super) fn run(room: RoomId, first: u64, count: u64) -> Vec<Entry> {
    (first..first + count).map(|seq| entry(room, seq)).collect()
}

/// A later state of an entry's item.
pub(super) fn change(of: &Entry, seq: u64) -> Entry {
    Entry {
        item: of.item,
        born: of.born,
        ..entry(of.room, seq)
    }
}

/// The deletion of an entry's item.
pub(super) fn deletion(of: &Entry, seq: u64) -> Entry {
    Entry {
        op: Op::Delete,
        body: Body::null(),
        ..change(of, seq)
    }
}

/// An emptied entry as `log` shows it.
pub(super) fn emptied(entry: &Entry) -> Entry {
    Entry {
        op: Op::Delete,
        body: Body::null(),
        op_id: None,
        request_hash: RequestHash([0; 32]),
        asked_hash: None,
        terms: Terms::default(),
        current: false,
        ..entry.clone()
    }
}

/// The entry with these terms.
pub(super) fn found_by(terms: &[&str], entry: Entry) -> Entry {
    let terms = terms.iter().map(|term| term.parse().unwrap());
    Entry {
        terms: Terms::new(terms),
        ..entry
    }
}

pub(super) fn superseded(entry: &Entry) -> Entry {
    Entry {
        current: false,
        ..entry.clone()
    }
}

/// Appends a whole batch.
pub(super) async fn append(journal: &dyn Journal, batch: &[Entry]) {
    let appended = journal
        .append(batch[0].room, batch, &open_gate())
        .await
        .unwrap();
    assert_eq!((appended.committed, appended.stop), (batch.len(), None));
}

/// An open gate, for writers that nothing stops.
pub(crate) fn open_gate() -> Arc<dyn Gate> {
    Arc::new(OpenGate)
}

pub(super) fn body(text: &str) -> Body {
    Body::from_text(text.to_owned()).unwrap()
}

/// Now, in whole milliseconds as entries keep times.
pub(super) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(Utc::now().timestamp_millis()).unwrap()
}

pub(super) fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}
