//! Local delivery: what a room has given its readers on this instance, in order and without gaps.
//!
//! * Delivery is local first and waits for no reader: it appends to a ring and wakes the readers, who
//!   pull at their own pace. A slow reader costs the others nothing.
//! * `delivered` rises one by one: an entry that is not delivered+1 is never delivered from memory.
//! * No reader is given what a later event superseded: a reader counts by position, and seqs may skip.
//! * An event is a hint, the journal is the truth: a reader that stands before the ring reads the journal.

use super::{
    durable::Durable,
    feed::Frame,
    ring::{Ring, weight},
    view::RoomView,
};
use roost_schema::{Position, RoomEvent, Seq};
use std::sync::Arc;

/// Bytes of event bodies that go out in one frame, unless one event alone has more.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1_024;

/// What was delivered in a room.
pub(super) struct Delivery {
    view: Arc<RoomView>,
    ring: Ring,
    /// The newest frame and the seq before it: what every reader who is up to date gets next.
    newest: Option<(Seq, Arc<Frame>)>,
}

impl Delivery {
    pub(super) fn new(view: Arc<RoomView>) -> Self {
        Self {
            ring: Ring::after(view.head),
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

    /// Delivers the entries between what was delivered and `view`. Events that they supersede are in no frame that is
    /// made, or handed out, after this.
    pub(super) fn deliver(&mut self, durable: &Durable, view: Arc<RoomView>) {
        let before = self.view.head;
        let entries = durable.beyond(before);
        let last = entries.last().map_or(before, |entry| entry.seq);
        assert_eq!(last, view.head, "what is delivered leads to the view");
        self.view = view;
        let events = self.ring.push(entries);
        let is_one_frame =
            events.iter().map(|event| weight(event)).sum::<usize>() <= FRAME_BYTES_MAX;
        self.newest = is_one_frame.then(|| {
            let frame = Frame::new(self.view.id(), events, self.position(), true);
            (before, Arc::new(frame))
        });
    }

    /// The next frame after a position, if the ring still holds what follows it. It holds nothing of another epoch.
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
        let run = self.ring.run_after(cursor)?;
        let is_all = run.cut_at.is_none();
        // A reader fed from the journal may be ahead of what was delivered here.
        let seq = run.cut_at.unwrap_or(self.view.head.max(cursor));
        let position = Position::new(self.view.epoch, seq);
        let frame = Frame::new(self.view.id(), run.events, position, is_all);
        Some(Arc::new(frame))
    }

    /// Whether the ring has at least the seq and the item of everything that was delivered after `seq`.
    pub(super) fn knows_all_after(&self, seq: Seq) -> bool {
        self.ring.knows_all_after(seq)
    }

    /// Whether the ring knows a later event of the item.
    pub(super) fn supersedes(&self, event: &RoomEvent) -> bool {
        self.ring.supersedes(event)
    }
}
