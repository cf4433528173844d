//! Local delivery: what a room has told its readers on this instance, in order and without gaps.
//!
//! * Delivery is local first and waits for nobody: it appends to a ring and wakes the readers, who
//!   pull at their own pace. A slow reader costs the others nothing.
//! * `delivered` rises one by one: an entry that is not delivered+1 is never delivered from memory.
//! * An event is a hint, the journal is the truth: whoever stands before the ring reads the journal.

use super::{Frame, view::RoomView};
use roost_schema::{Position, RoomEvent, Seq};
use std::{collections::VecDeque, sync::Arc};

/// Bytes of recent events an active room keeps to serve readers without the journal.
const RING_BYTES_MAX: usize = 512 * 1_024;
/// Recent events an active room keeps.
const RING_EVENTS_MAX: usize = 1_024;
/// Bytes of event bodies that go out in one frame, unless one event alone has more.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1_024;

/// What was delivered in a room.
pub(super) struct Delivery {
    view: Arc<RoomView>,
    /// Events after `ring_start`, ascending; emptied entries are stepped over, so seqs may skip.
    ring: VecDeque<Arc<RoomEvent>>,
    ring_start: Seq,
    ring_bytes: usize,
    /// The newest frame and the seq before it: what every reader who is up to date gets next.
    newest: Option<(Seq, Arc<Frame>)>,
}

impl Delivery {
    pub(super) fn new(view: Arc<RoomView>) -> Self {
        Self {
            ring: VecDeque::new(),
            ring_start: view.head,
            ring_bytes: 0,
            newest: None,
            view,
        }
    }

    pub(super) fn view(&self) -> Arc<RoomView> {
        Arc::clone(&self.view)
    }

    pub(super) fn position(&self) -> Position {
        self.view.position()
    }

    /// Takes the events that lead from what was delivered to `view`.
    pub(super) fn deliver(&mut self, events: Vec<Arc<RoomEvent>>, view: Arc<RoomView>) {
        let before = self.view.head;
        self.view = view;
        for event in &events {
            self.ring_bytes += weight(event);
            self.ring.push_back(Arc::clone(event));
        }
        while self.ring.len() > RING_EVENTS_MAX || self.ring_bytes > RING_BYTES_MAX {
            let Some(oldest) = self.ring.pop_front() else {
                break;
            };
            self.ring_bytes -= weight(&oldest);
            self.ring_start = oldest.seq;
        }
        let is_one_frame =
            events.iter().map(|event| weight(event)).sum::<usize>() <= FRAME_BYTES_MAX;
        self.newest = is_one_frame.then(|| {
            let frame = Frame::new(self.view.id(), events, self.position(), true);
            (before, Arc::new(frame))
        });
    }

    /// The next frame after a position, if memory still holds what follows it. Of another epoch it
    /// holds nothing.
    pub(super) fn frame_after(&self, cursor: Position) -> Option<Arc<Frame>> {
        if cursor.epoch != self.view.epoch {
            return None;
        }
        let cursor = cursor.seq;
        if let Some((before, frame)) = &self.newest
            && *before == cursor
        {
            return Some(Arc::clone(frame));
        }
        if cursor < self.ring_start {
            return None;
        }
        let first = self.ring.partition_point(|event| event.seq <= cursor);
        let mut bytes = 0;
        let events: Vec<_> = self
            .ring
            .range(first..)
            .take_while(|event| {
                let is_first = bytes == 0;
                bytes += weight(event);
                is_first || bytes <= FRAME_BYTES_MAX
            })
            .cloned()
            .collect();
        let is_all = first + events.len() == self.ring.len();
        let seq = match events.last() {
            Some(last) if !is_all => last.seq,
            // A reader fed from the journal may be ahead of what was delivered here.
            _ => self.view.head.max(cursor),
        };
        let position = Position::new(self.view.epoch, seq);
        Some(Arc::new(Frame::new(
            self.view.id(),
            events,
            position,
            is_all,
        )))
    }
}

/// Roughly what an event costs in memory and on the wire, in bytes.
pub(super) fn weight(event: &RoomEvent) -> usize {
    const ENVELOPE_BYTES: usize = 256;
    event.body.as_str().len() + ENVELOPE_BYTES
}
