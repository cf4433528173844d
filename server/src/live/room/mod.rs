//! A room that is active on this instance: where writes queue, and readers begin.
//!
//! One task writes (`writer.rs`); it owns what this instance knows of the room (`replica/`). It judges writes by a
//! pure function (`judging.rs`), and delivers what is durable (`durable.rs`) to a memory (`delivery.rs`, `ring.rs`) from which
//! each reader pulls (`feed.rs`). The rest of the instance reaches it by signals (`signals.rs`).

mod answering;
mod deliveries;
mod delivery;
mod durable;
mod feed;
mod judging;
mod kept_items;
mod reorder;
mod replica;
mod retry;
mod ring;
mod signals;
mod view;
mod write;
mod writer;

pub use feed::{Feed, Frame};
pub use view::{Refusal, RoomView};
pub use write::{Change, Judge, QueuedWrite, Write, Written};
pub(super) use {deliveries::Deliveries, write::PendingWrite, writer::Writer};

use super::{
    Damage, LiveError,
    instance::{Instance, ServedBucket},
    presence::AwarenessBoard,
};
use delivery::Delivery;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{Position, RoomId, Seq, UserId};
use signals::Signals;
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Writes that may wait in one room.
pub const MAILBOX_CAPACITY_WRITES: usize = 1_024;
/// Bytes of writes that may wait in one room.
pub const MAILBOX_CAPACITY_BYTES: usize = 4 * 1_024 * 1_024;
/// How long a reader waits for a room to be loaded before it is refused, to try again.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// When to come back to a room whose mailbox is full.
const RETRY_OVERLOADED: Duration = Duration::from_millis(500);

/// Holds a room: while there is a holder, the room stays active.
pub struct LiveRoom(Arc<ActiveRoom>);

/// What a room's writer, its holders and the rest of the instance share.
pub struct ActiveRoom {
    id: RoomId,
    inbox: mpsc::Sender<PendingWrite>,
    room_bytes: Arc<Semaphore>,
    pub(super) instance: Arc<Instance>,
    /// Rises from 0 only under the lock of the instance's rooms, so that no caller gets a room that is being forgotten.
    holders: AtomicUsize,
    /// For the writer.
    pub(super) signals: Signals,
    /// What was delivered; `None` until the room is loaded.
    delivery: Mutex<Option<Delivery>>,
    status: watch::Sender<Status>,
    pub(super) awareness: AwarenessBoard,
    _served: Option<ServedBucket>,
}

/// What readers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    /// `None` until the room is loaded.
    delivered: Option<Position>,
    condition: Condition,
}

/// How far what is known of a room can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Known,
    /// The journal is ahead, and could not be read for a while: rights are not known.
    Stale,
    /// The journal holds something that cannot be read: the room is left alone until that was mended.
    Damaged(Damage),
}

impl Status {
    const fn damage(&self) -> Option<Damage> {
        match self.condition {
            Condition::Damaged(damage) => Some(damage),
            Condition::Known | Condition::Stale => None,
        }
    }
}

impl LiveRoom {
    /// Adds a holder. Called while the instance's rooms are locked.
    pub(super) fn hold(room: &Arc<ActiveRoom>) -> Self {
        room.holders.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(room))
    }

    /// Starts a feed for a reader; `None`: from now on.
    ///
    /// Errors: `ReloadRequired` for a position this journal cannot have given.
    pub async fn watch(self, reader: UserId, after: Option<Position>) -> Result<Feed, LiveError> {
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
}

impl Clone for LiveRoom {
    fn clone(&self) -> Self {
        Self::hold(&self.0)
    }
}

impl Drop for LiveRoom {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Deref for LiveRoom {
    type Target = ActiveRoom;

    fn deref(&self) -> &ActiveRoom {
        &self.0
    }
}

impl ActiveRoom {
    /// Makes the room and the writer that will serve it once it runs.
    pub(super) fn open(id: RoomId, instance: Arc<Instance>) -> (Arc<Self>, Writer) {
        let (sender, inbox) = mpsc::channel(MAILBOX_CAPACITY_WRITES);
        let room = Arc::new(Self {
            id,
            inbox: sender,
            room_bytes: Arc::new(Semaphore::new(MAILBOX_CAPACITY_BYTES)),
            _served: instance.serve(id),
            instance,
            holders: AtomicUsize::new(0),
            signals: Signals::default(),
            delivery: Mutex::new(None),
            status: watch::Sender::new(Status {
                delivered: None,
                condition: Condition::Known,
            }),
            awareness: AwarenessBoard::default(),
        });
        (Arc::clone(&room), Writer::new(room, inbox))
    }

    pub fn id(&self) -> RoomId {
        self.id
    }

    pub(super) fn has_holders(&self) -> bool {
        self.holders.load(Ordering::Acquire) > 0
    }

    /// Writes that wait in the mailbox.
    pub(super) fn writes_waiting(&self) -> usize {
        MAILBOX_CAPACITY_WRITES - self.inbox.capacity()
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
        let (pending, reply) = PendingWrite::new(write, [room_budget, instance_budget]);
        match self.inbox.try_send(pending) {
            Ok(()) => Ok(reply),
            Err(mpsc::error::TrySendError::Full(_)) => Err(FULL),
            // The instance stops and has closed the mailbox.
            Err(mpsc::error::TrySendError::Closed(_)) => Err(LiveError::Unavailable),
        }
    }

    /// The room's roles at the newest head this instance has delivered.
    ///
    /// Errors: `Unavailable` while it knows that there is more, and cannot read it; `Unsound` or `Corrupt`
    /// when what there is cannot be read at all.
    pub async fn view(&self) -> Result<Arc<RoomView>, LiveError> {
        self.loaded().await?;
        match self.status.borrow().condition {
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

    /// The position of the newest entry delivered here, without waiting; `None`: the room is not loaded.
    pub(super) fn delivered(&self) -> Option<Position> {
        self.status.borrow().delivered
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
        self.signals.hint();
        let mut status = self.status.subscribe();
        let is_there = |status: &Status| {
            let delivered = status.delivered;
            delivered.is_some_and(|it| it.epoch == heads.epoch && it.seq >= head)
        };
        let waited = tokio::time::timeout(LOAD_WAIT_MAX, status.wait_for(is_there)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(LiveError::Unavailable),
        }
    }

    async fn journal_head(&self) -> Result<Seq, LiveError> {
        let heads = self.instance.journal.heads(&[self.id]).await?;
        Ok(heads.rooms.get(&self.id).copied().unwrap_or_default().head)
    }

    async fn loaded(&self) -> Result<Position, LiveError> {
        let mut status = self.status.subscribe();
        let is_known = |status: &Status| status.delivered.is_some() || status.damage().is_some();
        let waited = tokio::time::timeout(LOAD_WAIT_MAX, status.wait_for(is_known)).await;
        let Ok(Ok(status)) = waited else {
            return Err(LiveError::Unavailable);
        };
        match (status.delivered, status.damage()) {
            (Some(position), _) => Ok(position),
            (None, Some(damage)) => Err(damage.into()),
            (None, None) => Err(LiveError::Unavailable),
        }
    }

    fn set_condition(&self, condition: Condition) {
        self.status.send_if_modified(|status| {
            std::mem::replace(&mut status.condition, condition) != condition
        });
    }

    /// Shows readers who wait how far the room was delivered.
    fn show(&self, delivered: Position) {
        self.status
            .send_modify(|status| status.delivered = Some(delivered));
    }

    /// The room's delivery lock. Held for a moment and never across an await.
    fn delivery(&self) -> MutexGuard<'_, Option<Delivery>> {
        self.delivery.lock()
    }
}
