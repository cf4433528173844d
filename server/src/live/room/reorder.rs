//! Entries of a room that other instances announced, waiting for those before them. Bounded: what does not fit is left out,
//! and read from the journal when its turn comes.

use crate::store::journal::Entry;
use roost_schema::{Epoch, Seq};
use std::collections::BTreeMap;

/// Entries that may wait in one room.
const WAITING_ENTRIES_MAX: usize = 1_024;
/// Bytes of their bodies.
const WAITING_BYTES_MAX: usize = 1_024 * 1_024;

#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// Of the entries that wait.
    epoch: Option<Epoch>,
    waiting: BTreeMap<Seq, Entry>,
    bytes: usize,
}

impl Reorder {
    /// Keeps entries, as far as they fit. Answers the highest seq that was left out.
    pub(super) fn insert(&mut self, epoch: Epoch, entries: Vec<Entry>) -> Option<Seq> {
        if self.epoch != Some(epoch) {
            *self = Self {
                epoch: Some(epoch),
                ..Self::default()
            };
        }
        let mut left_out = None;
        for entry in entries {
            let bytes = entry.body.as_str().len();
            let fits =
                self.waiting.len() < WAITING_ENTRIES_MAX && self.bytes + bytes <= WAITING_BYTES_MAX;
            if self.waiting.contains_key(&entry.seq) {
                continue;
            }
            if fits {
                self.bytes += bytes;
                self.waiting.insert(entry.seq, entry);
            } else {
                left_out = left_out.max(Some(entry.seq));
            }
        }
        left_out
    }

    /// Keeps what waits in another one, as far as it fits. Answers the highest seq that was left out.
    pub(super) fn merge(&mut self, other: Self) -> Option<Seq> {
        let entries: Vec<_> = other.waiting.into_values().collect();
        let epoch = other.epoch.filter(|_| !entries.is_empty())?;
        self.insert(epoch, entries)
    }

    /// The epoch of what waits, if anything does.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.epoch.filter(|_| !self.waiting.is_empty())
    }

    /// Takes the entries that follow `head` without a gap, and forgets those up to it.
    pub(super) fn take_after(&mut self, head: Seq) -> Vec<Entry> {
        let mut head = head;
        let mut run = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() > head.next() {
                break;
            }
            let entry = first.remove();
            self.bytes -= entry.body.as_str().len();
            if entry.seq == head.next() {
                head = entry.seq;
                run.push(entry);
            }
        }
        run
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
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
}
