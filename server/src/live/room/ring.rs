//! What a room delivered lately, so that most readers need no journal. What a later event superseded keeps its seq,
//! kind and actor here, and loses its body: no reader is given a text that was edited or deleted since.
//!
//! An event costs one look-up by item, and one by seq (binary search) if it supersedes another: the ring is never
//! walked. Besides the bodies an active room keeps at most 1,024 entries of some 50 bytes, and as many in the index.

use super::delivery::FRAME_BYTES_MAX;
use crate::store::journal::Entry;
use roost_schema::{Body, ItemId, RoomEvent, Seq};
use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::Arc,
};

/// Bytes of recent events an active room keeps to serve readers without the journal.
const RING_BYTES_MAX: usize = 512 * 1_024;
/// Recent events an active room remembers.
const RING_EVENTS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Ring {
    /// Ascending by seq. Entries that have lost their event or its body are among them.
    entries: VecDeque<RingEntry>,
    /// How many of the oldest have lost their event, because the ring held too many bytes. Their seq and item stay, and
    /// show what supersedes an event.
    bare: usize,
    /// The ring serves readers that are at this seq or later.
    serves_after: Seq,
    /// The ring has the seq and the item of everything that was delivered after this seq.
    knows_after: Seq,
    /// The seq of the newest event of each item.
    newest: HashMap<ItemId, Seq>,
    /// Events with an op that this release does not know, by item: they set no state. Nearly always none.
    beside: Vec<(ItemId, Seq)>,
    bytes: usize,
}

#[derive(Debug)]
struct RingEntry {
    seq: Seq,
    item: ItemId,
    event: Option<Arc<RoomEvent>>,
    is_superseded: bool,
}

/// Events that follow a position.
pub(super) struct Run {
    pub(super) events: Vec<Arc<RoomEvent>>,
    /// Where the run ends, if something remains after it.
    pub(super) cut_at: Option<Seq>,
}

impl Ring {
    /// Remembers nothing up to `head`.
    pub(super) fn after(head: Seq) -> Self {
        Self {
            entries: VecDeque::new(),
            bare: 0,
            serves_after: head,
            knows_after: head,
            newest: HashMap::new(),
            beside: Vec::new(),
            bytes: 0,
        }
    }

    /// Appends entries; gives their events, without those that are superseded.
    pub(super) fn push(&mut self, entries: &[Entry]) -> Vec<Arc<RoomEvent>> {
        let first = self.entries.len();
        for entry in entries {
            if entry.op.sets_state() {
                self.supersede(entry);
            } else {
                self.beside.push((entry.item, entry.seq));
            }
            let event = RoomEvent::from(entry.clone());
            let mut kept = RingEntry {
                seq: entry.seq,
                item: entry.item,
                event: Some(Arc::new(event)),
                is_superseded: false,
            };
            if !entry.current {
                kept.lose_body();
            }
            self.bytes += kept.bytes();
            self.entries.push_back(kept);
        }
        let fresh = self.entries.range(first..);
        let fresh = fresh.filter_map(RingEntry::current).cloned().collect();
        self.shrink();
        fresh
    }

    /// The events after a seq, as many as one frame holds; `None` when the ring does not go back so far.
    pub(super) fn run_after(&self, seq: Seq) -> Option<Run> {
        if seq < self.serves_after {
            return None;
        }
        let first = self.entries.partition_point(|entry| entry.seq <= seq);
        let mut run = Run {
            events: Vec::new(),
            cut_at: None,
        };
        let (mut bytes, mut last) = (0, seq);
        for entry in self.entries.range(first..) {
            if let Some(event) = entry.current() {
                bytes += weight(event);
                if bytes > FRAME_BYTES_MAX && !run.events.is_empty() {
                    run.cut_at = Some(last);
                    return Some(run);
                }
                run.events.push(Arc::clone(event));
            }
            last = entry.seq;
        }
        Some(run)
    }

    /// Whether everything delivered after `seq` is remembered, if only by seq and item.
    pub(super) fn knows_all_after(&self, seq: Seq) -> bool {
        self.knows_after <= seq
    }

    /// Whether a later event of the item is remembered.
    pub(super) fn supersedes(&self, event: &RoomEvent) -> bool {
        let newest = self.newest.get(&event.item);
        newest.is_some_and(|newest| *newest > event.seq)
    }

    fn supersede(&mut self, by: &Entry) {
        let is_beside = |(beside, _): &mut (ItemId, Seq)| *beside == by.item;
        let beside: Vec<_> = self.beside.extract_if(.., is_beside).collect();
        for (_, seq) in beside {
            self.lose_body(seq, by);
        }
        if let Some(earlier) = self.newest.insert(by.item, by.seq) {
            self.lose_body(earlier, by);
        }
    }

    /// Empties the event with the seq `earlier`, if the ring still has it. In a person's own room the room and the
    /// membership have one item id: an event of another kind keeps its body.
    fn lose_body(&mut self, earlier: Seq, by: &Entry) {
        let is_of_kind = |event: &Arc<RoomEvent>| event.kind == by.kind;
        let at = self.entries.partition_point(|entry| entry.seq < earlier);
        if let Some(entry) = self.entries.get_mut(at)
            && entry.seq == earlier
            && entry.event.as_ref().is_some_and(is_of_kind)
        {
            self.bytes -= entry.bytes();
            entry.lose_body();
            self.bytes += entry.bytes();
        }
    }

    fn shrink(&mut self) {
        while self.bytes > RING_BYTES_MAX {
            let Some(entry) = self.entries.get_mut(self.bare) else {
                break;
            };
            self.bytes -= entry.bytes();
            entry.event = None;
            self.serves_after = entry.seq;
            self.bare += 1;
        }
        while self.entries.len() > RING_EVENTS_MAX {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.bare = self.bare.saturating_sub(1);
            self.serves_after = self.serves_after.max(oldest.seq);
            self.knows_after = oldest.seq;
            self.beside.retain(|(_, seq)| *seq != oldest.seq);
            if let hash_map::Entry::Occupied(newest) = self.newest.entry(oldest.item)
                && *newest.get() == oldest.seq
            {
                newest.remove();
            }
        }
    }
}

impl RingEntry {
    /// The event, if readers are given it.
    fn current(&self) -> Option<&Arc<RoomEvent>> {
        self.event.as_ref().filter(|_| !self.is_superseded)
    }

    fn lose_body(&mut self) {
        self.is_superseded = true;
        if let Some(event) = &mut self.event {
            *event = Arc::new(RoomEvent {
                body: Body::null(),
                ..(**event).clone()
            });
        }
    }

    fn bytes(&self) -> usize {
        self.event.as_deref().map_or(0, weight)
    }
}

/// Roughly what an event costs in memory and on the wire, in bytes.
pub(super) fn weight(event: &RoomEvent) -> usize {
    const ENVELOPE_BYTES: usize = 256;
    event.body.as_str().len() + ENVELOPE_BYTES
}

#[cfg(test)]
mod tests;
