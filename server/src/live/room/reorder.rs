//! Entries of a room that other instances announced, waiting for those before them. Bounded: what does not fit is left
//! out, and read from the journal when its turn comes.

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
mod tests;
