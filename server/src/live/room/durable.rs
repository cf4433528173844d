//! Entries that are assigned a slot, and entries that are durable: two types, so that none is taken for the other. Only
//! what is durable is delivered, announced or acknowledged.

use super::write::PendingWrite;
use crate::store::journal::{Appended, Entry};
use roost_schema::{ItemId, Kind, Seq};

/// Writes that were judged good, each with the entry it is to make. The slots follow one another; the journal does not
/// have them yet, and another writer may be first.
#[derive(Default)]
pub(super) struct Assigned {
    writes: Vec<PendingWrite>,
    entries: Vec<Entry>,
}

impl Assigned {
    pub(super) fn push(&mut self, write: PendingWrite, entry: Entry) {
        if let Some(last) = self.entries.last() {
            assert_eq!(entry.seq, last.seq.next(), "slots follow one another");
        }
        self.writes.push(write);
        self.entries.push(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether an entry is a state of this item.
    pub(super) fn touches(&self, item: ItemId) -> bool {
        self.entries.iter().any(|entry| entry.item == item)
    }

    /// Whether the last entry may change what others have a right to.
    pub(super) fn changes_rights(&self) -> bool {
        let last = self.entries.last();
        last.is_some_and(|entry| matches!(entry.kind, Kind::Member | Kind::Room))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The writes, without their slots.
    pub(super) fn into_writes(self) -> Vec<PendingWrite> {
        self.writes
    }

    /// Each write with the slot that was asked for.
    pub(super) fn into_slots(self) -> Vec<(PendingWrite, Seq)> {
        let slots = self.entries.into_iter().map(|entry| entry.seq);
        self.writes.into_iter().zip(slots).collect()
    }

    /// Splits the writes: those whose entries the journal has taken, and those that have to be judged again.
    pub(super) fn commit(mut self, appended: &Appended) -> (Committed, Vec<PendingWrite>) {
        assert!(
            appended.committed <= self.entries.len(),
            "no more is durable than was sent"
        );
        let rest = self.writes.split_off(appended.committed);
        self.entries.truncate(appended.committed);
        let committed = Committed {
            writes: self.writes,
            durable: Durable(self.entries),
        };
        (committed, rest)
    }
}

/// Writes whose entries the journal has, in the same order.
pub(super) struct Committed {
    pub(super) writes: Vec<PendingWrite>,
    pub(super) durable: Durable,
}

/// Entries that the journal has, ascending without a gap.
pub(super) struct Durable(Vec<Entry>);

impl Durable {
    /// Entries that were read from the journal.
    pub(super) fn read(entries: Vec<Entry>) -> Self {
        Self::run(entries)
    }

    /// Entries that another instance announced, which it does once they are committed.
    pub(super) fn announced(entries: Vec<Entry>) -> Self {
        Self::run(entries)
    }

    fn run(entries: Vec<Entry>) -> Self {
        let is_run = |pair: &[Entry]| pair[1].seq == pair[0].seq.next();
        assert!(entries.windows(2).all(is_run), "there is a gap in a run");
        Self(entries)
    }

    pub(super) fn all(&self) -> &[Entry] {
        &self.0
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.0
    }

    /// The entries after a head, of which the first follows it directly.
    pub(super) fn beyond(&self, head: Seq) -> &[Entry] {
        let known = self.0.partition_point(|entry| entry.seq <= head);
        let beyond = self.0.get(known..).unwrap_or_default();
        if let Some(first) = beyond.first() {
            assert_eq!(first.seq, head.next(), "there is a gap before a run");
        }
        beyond
    }
}
