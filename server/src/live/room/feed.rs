//! One feed for join, resume, lagging sockets, GraphQL subscriptions and SSE.
//!
//! A reader holds a cursor and pulls. While the room's ring still holds what follows the cursor, the
//! next frame comes from memory; else from the journal by `changes(cursor)`. So the journal is the
//! long queue, and no reader needs a queue of its own: one that pulls late gets more at once.

use super::{
    LiveError, LiveRoom,
    deliveries::DeliverySource,
    delivery::{Delivery, FRAME_BYTES_MAX},
    view::role_given,
};
use crate::store::journal::{Entry, Page, RoomHead};
use roost_schema::{ItemId, Kind, Position, RoomEvent, RoomEvents, RoomId, Seq, UserId};
use serde_json::value::RawValue;
use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::sleep;

/// How long a feed waits before it asks a journal that did not answer again: this long at first, twice as long
/// each further time, and never longer than the second. A random half of it is left out, so that the readers of an
/// instance do not come back together.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// How often one page is read, when the journal changes faster than that.
const READS_MAX: u32 = 16;

/// Changes of a room that go out together, encoded once per instance.
#[derive(Debug)]
pub struct Frame {
    pub room: RoomId,
    pub events: Vec<Arc<RoomEvent>>,
    /// Where to resume after this frame.
    pub position: Position,
    /// The reader is up to date: there is no more for now. Live or not, a change is left out that a later one
    /// superseded before the frame was made.
    pub live: bool,
    /// Forget everything held of the room first: this frame begins its full state.
    pub reset: bool,
    json: OnceLock<Arc<RawValue>>,
}

impl Frame {
    pub(super) fn new(
        room: RoomId,
        events: Vec<Arc<RoomEvent>>,
        position: Position,
        live: bool,
    ) -> Self {
        Self {
            room,
            events,
            position,
            live,
            reset: false,
            json: OnceLock::new(),
        }
    }

    pub fn content(&self) -> RoomEvents {
        RoomEvents {
            room: self.room,
            events: self.events.iter().map(|event| (**event).clone()).collect(),
            position: self.position,
            live: self.live,
            reset: self.reset,
        }
    }

    /// The frame as JSON, encoded at the first call.
    pub fn to_json(&self) -> Arc<RawValue> {
        let json = self.json.get_or_init(|| {
            // Ids, numbers and JSON that was read as JSON before: there is nothing that can fail.
            let raw = serde_json::value::to_raw_value(&self.content());
            raw.unwrap_or_else(|_| RawValue::NULL.to_owned()).into()
        });
        Arc::clone(json)
    }

    /// The seq at which a reader's own right to read ends in the frame: the membership is deleted, or gets a role that
    /// cannot be read.
    fn removal_of(&self, reader: ItemId) -> Option<Seq> {
        let is_removal = |event: &&Arc<RoomEvent>| {
            let is_membership = event.kind == Kind::Member && event.item == reader;
            is_membership && event.op.sets_state() && role_given(&event.op, &event.body).is_none()
        };
        self.events.iter().find(is_removal).map(|event| event.seq)
    }
}

/// Where a frame comes from.
#[derive(Clone, Copy)]
enum Source {
    Memory,
    Journal,
}

/// A reader's cursor in a room. A reader pulls, so one that is slow gets more at once, later.
pub struct Feed {
    room: LiveRoom,
    /// The reader's own membership: the feed ends where it gives no right to read any more.
    reader: ItemId,
    cursor: Position,
    /// The floor at which this reader's load of the full state began. Tombstones up to it were never part of that
    /// state, so the reader misses nothing when they are gone.
    floor_seen: Seq,
    /// Whether the next frame begins the full state.
    is_reset: bool,
    /// Whether the last frame was live, so that the reader knows to be up to date.
    was_live: bool,
    is_ended: bool,
}

impl Feed {
    pub(super) fn new(room: LiveRoom, reader: UserId, cursor: Position) -> Self {
        Self {
            room,
            reader: ItemId::of_member(reader),
            cursor,
            floor_seen: cursor.floor.max(cursor.seq),
            is_reset: false,
            was_live: false,
            is_ended: false,
        }
    }

    pub fn room(&self) -> RoomId {
        self.room.id()
    }

    /// Where the reader stands.
    pub fn position(&self) -> Position {
        self.cursor
    }

    /// Waits for the next frame, however long the journal does not answer. A reader that is up to date learns it at
    /// once, by a live frame that may have no events. `None` when the reader was removed. Safe to cancel: a
    /// transport does so when the reader leaves, or has no right to read any more.
    ///
    /// Errors: `ReloadRequired` when the journal began another epoch, `Unavailable` when the fence is shut, `Unsound`
    /// or `Corrupt` when what the journal holds cannot be read.
    pub async fn next(&mut self) -> Result<Option<Arc<Frame>>, LiveError> {
        let mut failures = 0;
        loop {
            match self.try_next().await {
                Err(LiveError::Unavailable) if !self.room.instance.fence.is_shut() => {
                    sleep(retry_pause(failures)).await;
                    failures += 1;
                }
                pulled => return pulled,
            }
        }
    }

    /// Like [`Feed::next`], for a reader that can still be told when to come back.
    ///
    /// Errors: those of [`Feed::next`], and `Unavailable` when the journal cannot be read at the moment.
    pub async fn try_next(&mut self) -> Result<Option<Arc<Frame>>, LiveError> {
        if self.is_ended {
            return Ok(None);
        }
        let mut status = self.room.status.subscribe();
        loop {
            let shown = *status.borrow_and_update();
            let now = shown.delivered.ok_or(LiveError::Unavailable)?;
            if now.epoch != self.cursor.epoch {
                return Err(LiveError::ReloadRequired);
            }
            if self.is_past_removal() {
                self.is_ended = true;
                return Ok(None);
            }
            if now.seq > self.cursor.seq || !self.was_live {
                let (frame, source) = self.pull().await?;
                if self.room.instance.fence.is_shut() {
                    self.is_reset |= frame.reset;
                    return Err(LiveError::Unavailable);
                }
                return Ok(Some(self.advance(frame, source)));
            }
            // Without this error the reader would wait in silence for changes that never come.
            if let Some(damage) = shown.damage() {
                return Err(damage.into());
            }
            status.changed().await.map_err(|_| LiveError::Unavailable)?;
        }
    }

    /// One page of what changed after the cursor, for readers who ask instead of watching; `None` for
    /// one who was removed before that.
    pub async fn page(&mut self) -> Result<Option<Arc<Frame>>, LiveError> {
        if self.is_past_removal() {
            return Ok(None);
        }
        let (frame, source) = self.pull().await?;
        Ok(Some(self.advance(frame, source)))
    }

    async fn pull(&mut self) -> Result<(Arc<Frame>, Source), LiveError> {
        Ok(match self.recall() {
            Some(frame) => (frame, Source::Memory),
            None => (self.read_journal().await?, Source::Journal),
        })
    }

    /// Whether the reader was removed at or before the cursor. The cursor may pass a removal that came between a look
    /// at the rights and a look at the cursor: no later frame would hold it.
    fn is_past_removal(&self) -> bool {
        self.ended_at().is_some_and(|seq| seq <= self.cursor.seq)
    }

    fn ended_at(&self) -> Option<Seq> {
        let delivery = self.room.delivery();
        let ended_at = |delivery: &Delivery| delivery.view().ended_at(self.reader);
        delivery.as_ref().and_then(ended_at)
    }

    fn recall(&self) -> Option<Arc<Frame>> {
        if self.is_reset {
            // The next frame has to say that it begins the full state, and no frame of the ring says so.
            return None;
        }
        let delivery = self.room.delivery();
        delivery.as_ref()?.frame_after(self.cursor)
    }

    async fn read_journal(&mut self) -> Result<Arc<Frame>, LiveError> {
        let instance = Arc::clone(&self.room.instance);
        // The permit is held while the journal is read, and never while a slow reader takes the frame.
        let _permit = instance.feed_reads.acquire().await;
        for _ in 0..READS_MAX {
            let before = self.read_head().await?;
            if before.floor > self.floor_seen.max(self.cursor.seq) {
                self.start_over(before.floor);
            }
            let since = self.cursor.seq;
            let page = instance
                .journal
                .changes(self.room.id(), since, FRAME_BYTES_MAX)
                .await?;
            if self.read_head().await?.floor > self.floor_seen.max(since) {
                continue;
            }
            instance
                .deliveries
                .count(DeliverySource::Feed, self.room.id(), &page.entries);
            if let Some(frame) = self.frame_of(page, before.head) {
                return Ok(frame);
            }
        }
        // The journal changes faster than it is read.
        Err(LiveError::Unavailable)
    }

    /// The frame of a page that was read when the journal held at least `head`. `None` when the ring has forgotten
    /// entries after `head`, so that nothing shows which events of the page they superseded.
    fn frame_of(&mut self, page: Page, head: Seq) -> Option<Arc<Frame>> {
        let since = self.cursor.seq;
        let last = page.entries.last().map_or(since, |entry| entry.seq);
        // Entries up to the head that this page leaves out were superseded by entries in it.
        let seq = if page.more { last } else { last.max(head) };
        let mut position = Position::new(self.cursor.epoch, seq);
        if seq < self.floor_seen {
            // A reader that resumes at this position goes on with this load, and does not begin another.
            position.floor = self.floor_seen;
        }
        let mut events = newest_of_each(page.entries);
        // Locked until the frame is made, so that events that were superseded while the page was read are left out.
        let delivery = self.room.delivery();
        if let Some(delivery) = delivery.as_ref() {
            if !delivery.knows_all_after(head) {
                return None;
            }
            events.retain(|event| !delivery.supersedes(event));
        }
        let mut frame = Frame::new(self.room.id(), events, position, false);
        drop(delivery);
        frame.reset = std::mem::take(&mut self.is_reset);
        Some(Arc::new(frame))
    }

    fn start_over(&mut self, floor: Seq) {
        self.cursor.seq = Seq::ZERO;
        self.floor_seen = floor;
        self.is_reset = true;
    }

    async fn read_head(&self) -> Result<RoomHead, LiveError> {
        let heads = self.room.instance.journal.heads(&[self.room.id()]).await?;
        if heads.epoch != self.cursor.epoch {
            return Err(LiveError::ReloadRequired);
        }
        Ok(heads
            .rooms
            .get(&self.room.id())
            .copied()
            .unwrap_or_default())
    }

    /// Moves the cursor. A reader who was removed gets nothing after the removal. One who was invited again reads on
    /// over it, because members may read the whole room.
    fn advance(&mut self, frame: Arc<Frame>, source: Source) -> Arc<Frame> {
        let end = match source {
            Source::Memory => self.ended_at(),
            // A frame of the journal may be ahead of what was delivered here. It holds only current entries, so it has
            // no removal of a person who was invited again.
            Source::Journal => frame.removal_of(self.reader),
        };
        let frame = match end.filter(|end| *end <= frame.position.seq) {
            None => frame,
            Some(end) => {
                self.is_ended = true;
                let end = end.max(self.cursor.seq);
                let position = Position::new(frame.position.epoch, end);
                let mut events = frame.events.clone();
                events.retain(|event| event.seq <= end);
                let mut cut = Frame::new(frame.room, events, position, frame.live);
                cut.reset = frame.reset;
                Arc::new(cut)
            }
        };
        self.cursor = frame.position;
        self.was_live = frame.live;
        frame
    }
}

fn retry_pause(failures: u32) -> Duration {
    const DOUBLINGS_MAX: u32 = 8;
    let longest = RETRY_FIRST * 2_u32.pow(failures.min(DOUBLINGS_MAX));
    let share = rand::random_range(0.5..1.0);
    longest.min(RETRY_LONGEST).mul_f64(share)
}

/// The events of a page without superseded ones. For a moment the journal may show two current entries of an item, and
/// an event of an unknown op before a newer state: only the newer state stays.
fn newest_of_each(entries: Vec<Entry>) -> Vec<Arc<RoomEvent>> {
    let mut superseded = HashSet::new();
    let mut events: Vec<_> = entries
        .into_iter()
        .rev()
        .filter(|entry| {
            let is_newest = !superseded.contains(&entry.item);
            if entry.op.sets_state() {
                superseded.insert(entry.item);
            }
            is_newest
        })
        .map(|entry| Arc::new(RoomEvent::from(entry)))
        .collect();
    events.reverse();
    events
}

impl From<Entry> for RoomEvent {
    fn from(entry: Entry) -> Self {
        Self {
            seq: entry.seq,
            item: entry.item,
            kind: entry.kind,
            op: entry.op,
            body: entry.body,
            actor: entry.actor,
            at: entry.at,
        }
    }
}
