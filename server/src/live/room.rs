//! A room that is active on this instance: where writes queue, and readers begin.

use super::{
    Damage, Feed, Instance, LiveError,
    backplane::{Backplane, Bucket},
    bus::Delivery,
    mailbox::Mailbox,
    presence::AwarenessBoard,
    reorder::Reorder,
    view::RoomView,
    write::{PendingWrite, QueuedWrite, Write, Written},
};
use crate::store::journal::Entry;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{Epoch, Position, RoomId, Seq, UserId};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

/// Writes that may wait in one room.
pub const MAILBOX_CAPACITY_WRITES: usize = 1_024;
/// Bytes of writes that may wait in one room.
pub const MAILBOX_CAPACITY_BYTES: usize = 4 * 1_024 * 1_024;
/// How long a reader waits for a room to be loaded before it is told to try again.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// When to come back to a room whose mailbox is full.
const RETRY_OVERLOADED: Duration = Duration::from_millis(500);

/// A room that is active on this instance.
pub struct LiveRoom {
    id: RoomId,
    mail: mpsc::Sender<PendingWrite>,
    room_bytes: Arc<Semaphore>,
    pub(super) instance: Arc<Instance>,
    /// What was delivered; `None` until the room is loaded.
    delivery: Mutex<Option<Delivery>>,
    /// Rises with each delivery, so that whoever waits for one wakes.
    pub(super) delivered: watch::Sender<Option<Position>>,
    /// The journal may hold more than was delivered: read it.
    pub(super) hint: Notify,
    /// The epoch and the head that the hint came from, if it came from a look at them.
    pub(super) seen: Mutex<Option<Position>>,
    /// What other instances told of, and how far their journal is known to go.
    remote: Mutex<RemoteEntries>,
    condition: watch::Sender<Condition>,
    /// Notified when remote entries came.
    pub(super) news: Notify,
    pub(super) awareness: AwarenessBoard,
    _served: Option<Served>,
}

#[derive(Default)]
struct RemoteEntries {
    reorder: Reorder,
    /// The journal holds entries up to here.
    expected: Seq,
}

/// Keeps the instance subscribed to a room's bucket while the room is active.
struct Served {
    backplane: Arc<dyn Backplane>,
    bucket: Bucket,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.backplane.release(self.bucket);
    }
}

impl LiveRoom {
    /// Makes the room and the mailbox that will serve it once it runs.
    pub(super) fn open(id: RoomId, instance: Arc<Instance>) -> (Arc<Self>, Mailbox) {
        let (mail, inbox) = mpsc::channel(MAILBOX_CAPACITY_WRITES);
        let served = instance.backplane.as_ref().map(|backplane| {
            let bucket = Bucket::of(id);
            backplane.serve(bucket);
            Served {
                backplane: Arc::clone(backplane),
                bucket,
            }
        });
        let room = Arc::new(Self {
            id,
            mail,
            room_bytes: Arc::new(Semaphore::new(MAILBOX_CAPACITY_BYTES)),
            instance,
            delivery: Mutex::new(None),
            delivered: watch::Sender::new(None),
            hint: Notify::new(),
            seen: Mutex::default(),
            remote: Mutex::default(),
            condition: watch::Sender::new(Condition::Known),
            news: Notify::new(),
            awareness: AwarenessBoard::default(),
            _served: served,
        });
        (Arc::clone(&room), Mailbox::new(room, inbox))
    }

    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Writes that wait in the mailbox.
    pub(super) fn writes_waiting(&self) -> usize {
        MAILBOX_CAPACITY_WRITES - self.mail.capacity()
    }

    /// Queues a write; the answer comes when it is durable.
    ///
    /// Errors: `Overloaded` when the room or the instance holds as much as it may, and what the
    /// mailbox answers.
    pub fn write(&self, write: Write) -> QueuedWrite {
        QueuedWrite::new(self.queue(write))
    }

    fn queue(
        &self,
        write: Write,
    ) -> Result<oneshot::Receiver<Result<Written, LiveError>>, LiveError> {
        const FULL: LiveError = LiveError::Overloaded {
            retry_after: RETRY_OVERLOADED,
        };
        let bytes = u32::try_from(write.bytes).map_err(|_| FULL)?;
        let budgets = [&self.room_bytes, &self.instance.write_bytes]
            .map(|budget| Arc::clone(budget).try_acquire_many_owned(bytes));
        let [Ok(room_budget), Ok(instance_budget)] = budgets else {
            return Err(FULL);
        };
        let (mail, answer) = PendingWrite::new(write, [room_budget, instance_budget]);
        match self.mail.try_send(mail) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(FULL),
            // The mailbox closed because the instance stops.
            Err(mpsc::error::TrySendError::Closed(_)) => Err(LiveError::Unavailable),
        }
    }

    /// The room's roles at the newest head this instance has delivered.
    ///
    /// Errors: `Unavailable` while it knows that there is more, and cannot read it; `Unsound` or `Corrupt`
    /// when what there is cannot be read at all.
    pub async fn view(&self) -> Result<Arc<RoomView>, LiveError> {
        self.loaded().await?;
        match *self.condition.borrow() {
            Condition::Known => {}
            Condition::Stale => return Err(LiveError::Unavailable),
            Condition::Damaged(damage) => return Err(damage.into()),
        }
        self.delivery()
            .as_ref()
            .map(Delivery::view)
            .ok_or(LiveError::Unavailable)
    }

    /// The position of the newest entry this instance has delivered.
    pub async fn position(&self) -> Result<Position, LiveError> {
        self.loaded().await
    }

    /// Waits until what is delivered here is what the journal holds now. While others write, too, an
    /// instance may be a moment behind them.
    pub async fn refresh(&self) -> Result<(), LiveError> {
        let delivered = self.loaded().await?;
        let heads = self.instance.journal.heads(&[self.id]).await?;
        let head = heads.rooms.get(&self.id).copied().unwrap_or_default().head;
        if heads.epoch == delivered.epoch && head <= delivered.seq {
            return Ok(());
        }
        self.hint.notify_one();
        let mut delivered = self.delivered.subscribe();
        let is_there = |position: &Option<Position>| {
            position.is_some_and(|it| it.epoch == heads.epoch && it.seq >= head)
        };
        let waited = tokio::time::timeout(LOAD_WAIT_MAX, delivered.wait_for(is_there)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LiveError::Unavailable),
        }
    }

    /// Starts a feed for a reader; `None`: from now on.
    ///
    /// Errors: `ReloadRequired` for a position this journal cannot have given.
    pub async fn watch(
        self: Arc<Self>,
        reader: UserId,
        after: Option<Position>,
    ) -> Result<Feed, LiveError> {
        let delivered = self.loaded().await?;
        let cursor = after.unwrap_or(delivered);
        if cursor.epoch != delivered.epoch {
            return Err(LiveError::ReloadRequired);
        }
        if cursor.seq > delivered.seq && cursor.seq > self.journal_head().await? {
            return Err(LiveError::ReloadRequired);
        }
        Ok(Feed::new(self, reader, cursor))
    }

    async fn journal_head(&self) -> Result<Seq, LiveError> {
        let heads = self.instance.journal.heads(&[self.id]).await?;
        Ok(heads.rooms.get(&self.id).copied().unwrap_or_default().head)
    }

    async fn loaded(&self) -> Result<Position, LiveError> {
        let mut delivered = self.delivered.subscribe();
        let loaded = async {
            tokio::select! {
                biased;
                loaded = delivered.wait_for(Option::is_some) => match loaded {
                    Ok(position) => position.ok_or(LiveError::Unavailable),
                    Err(_) => Err(LiveError::Unavailable),
                },
                damage = self.turns_damaged() => Err(damage.into()),
            }
        };
        let loaded = tokio::time::timeout(LOAD_WAIT_MAX, loaded).await;
        loaded.unwrap_or(Err(LiveError::Unavailable))
    }

    pub(super) fn set_condition(&self, condition: Condition) {
        let replaced = |before: &mut Condition| std::mem::replace(before, condition) != condition;
        self.condition.send_if_modified(replaced);
    }

    /// Resolves when what the journal holds of the room cannot be read.
    pub(super) async fn turns_damaged(&self) -> Damage {
        let mut condition = self.condition.subscribe();
        loop {
            if let Condition::Damaged(damage) = *condition.borrow_and_update() {
                return damage;
            }
            if condition.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Keeps entries that another instance announced.
    pub(super) fn receive(&self, epoch: Epoch, entries: Vec<Entry>) {
        self.remote().reorder.insert(epoch, entries);
        self.news.notify_one();
    }

    /// The journal was seen to stand here just now: it is read on to there without another look.
    pub(super) fn hint_at(&self, seen: Position) {
        *self.seen.lock() = Some(seen);
        self.hint.notify_one();
    }

    pub(super) fn take_seen(&self) -> Option<Position> {
        self.seen.lock().take()
    }

    /// The journal was seen to hold entries up to here.
    pub(super) fn expect(&self, head: Seq) {
        let mut remote = self.remote();
        remote.expected = remote.expected.max(head);
        self.news.notify_one();
    }

    /// What the journal was seen to hold before it was loaded says nothing of it now.
    pub(super) fn expect_nothing(&self) {
        self.remote().expected = Seq::ZERO;
    }

    /// The remote entries that follow `head` without a gap, and what is missing after them.
    pub(super) fn take_remote(&self, epoch: Epoch, head: Seq) -> (Vec<Entry>, Missing) {
        let mut remote = self.remote();
        match remote.reorder.epoch() {
            Some(other) if other != epoch => {
                remote.reorder.clear();
                return (Vec::new(), Missing::Epoch);
            }
            _ => {}
        }
        let run = remote.reorder.take_after(head);
        let head = run.last().map_or(head, |entry| entry.seq);
        let missing = match remote.reorder.epoch() {
            Some(_) => Missing::Gap,
            None if remote.expected > head => Missing::Expected,
            None => Missing::Nothing,
        };
        (run, missing)
    }

    fn remote(&self) -> MutexGuard<'_, RemoteEntries> {
        self.remote.lock()
    }

    /// The room's delivery lock. Held for a moment and never across an await.
    pub(super) fn delivery(&self) -> MutexGuard<'_, Option<Delivery>> {
        self.delivery.lock()
    }

    /// Makes what was delivered visible to whoever waits for it.
    pub(super) fn announce(&self, position: Position) {
        self.delivered.send_replace(Some(position));
    }
}

/// How far what is known of a room can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Known,
    /// The journal is ahead, and could not be read for a while: nobody's rights are known.
    Stale,
    /// The journal holds something that cannot be read: the room is left alone until somebody has mended it.
    Damaged(Damage),
}

/// What there is besides the entries that follow the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Nothing,
    /// Entries with a gap before them.
    Gap,
    /// Entries that the sweep has seen and nobody told of.
    Expected,
    /// Entries of another epoch.
    Epoch,
}
