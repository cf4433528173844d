//! What the rooms of this instance share: the stores, the backplane, and the map of active rooms.

use super::{
    cluster::{Backplane, Bucket, Channel, Fence, Link, Message, Peers, send_entries},
    presence::Presence,
    room::{ActiveRoom, Deliveries, LiveRoom, PendingWrite, Writer},
};
use crate::store::journal::{Entry, Journal};
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{Awareness, Epoch, InstanceId, RoomId};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of writes that may wait on this instance, in all rooms together.
pub(super) const INSTANCE_WRITE_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Journal reads for feeds that may run at once.
const FEED_READS_MAX: usize = 4;

/// The rooms by their ids.
type Rooms = HashMap<RoomId, Arc<ActiveRoom>>;

pub(crate) struct Instance {
    pub(super) id: InstanceId,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) backplane: Option<Arc<dyn Backplane>>,
    pub(super) peers: Arc<Peers>,
    pub(super) presence: Arc<dyn Presence>,
    pub(super) deliveries: Deliveries,
    pub(super) fence: Fence,
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
    rooms: Mutex<Rooms>,
    pub(super) write_bytes: Arc<Semaphore>,
    pub(super) feed_reads: Semaphore,
}

/// The parts that an instance is made of.
pub(super) struct Parts {
    pub(super) id: InstanceId,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) backplane: Option<Arc<dyn Backplane>>,
    pub(super) peers: Arc<Peers>,
    pub(super) presence: Arc<dyn Presence>,
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
}

impl Instance {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            id: parts.id,
            journal: parts.journal,
            backplane: parts.backplane,
            peers: parts.peers,
            presence: parts.presence,
            deliveries: Deliveries::default(),
            fence: Fence::default(),
            tasks: parts.tasks,
            cancel: parts.cancel,
            rooms: Mutex::default(),
            write_bytes: Arc::new(Semaphore::new(INSTANCE_WRITE_BYTES_MAX)),
            feed_reads: Semaphore::new(FEED_READS_MAX),
        })
    }

    pub(super) fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock()
    }

    /// Holds a room, and makes it active if it is not.
    pub(super) fn hold(self: &Arc<Self>, id: RoomId) -> LiveRoom {
        let mut rooms = self.rooms();
        if let Some(room) = rooms.get(&id) {
            return LiveRoom::hold(room);
        }
        let (room, writer) = ActiveRoom::open(id, Arc::clone(self));
        let held = LiveRoom::hold(&room);
        rooms.insert(id, room);
        self.tasks.spawn(Writer::run(writer, Arc::clone(self)));
        held
    }

    /// Holds a room, if it is active.
    pub(super) fn hold_active(&self, id: RoomId) -> Option<LiveRoom> {
        self.rooms().get(&id).map(LiveRoom::hold)
    }

    /// Removes a room from the map if it has no holders and no queued writes. While the map is locked it can get none.
    pub(super) fn forget_idle(
        &self,
        room: &ActiveRoom,
        inbox: &mpsc::Receiver<PendingWrite>,
    ) -> bool {
        let mut rooms = self.rooms();
        let is_idle = !room.has_holders() && inbox.is_empty();
        if is_idle {
            rooms.remove(&room.id());
        }
        is_idle
    }

    pub(super) fn forget(&self, room: RoomId) {
        self.rooms().remove(&room);
    }

    /// Whether announcements of other instances may not arrive here.
    pub(super) fn may_miss_announcements(&self) -> bool {
        self.is_cut_off() || self.peers.is_any_silent()
    }

    /// Whether no announcement can arrive here.
    pub(super) fn is_cut_off(&self) -> bool {
        self.link().is_some_and(|link| !link.is_up())
    }

    /// How the way to the other instances is; `None` when this one is meant to be alone.
    pub(super) fn link(&self) -> Option<Link> {
        let backplane = self.backplane.as_ref()?;
        Some(*backplane.link().borrow())
    }

    /// Sends a message to the other instances, if there are any.
    pub(super) fn send(&self, channel: Channel, message: &Message) {
        if let Some(backplane) = &self.backplane {
            message.send(backplane.as_ref(), channel);
        }
    }

    /// Announces entries that are in the journal to the other instances.
    pub(super) fn announce_entries(&self, room: RoomId, epoch: Epoch, entries: &[Entry]) {
        if let Some(backplane) = &self.backplane {
            send_entries(backplane.as_ref(), room, epoch, entries);
        }
    }

    /// Announces awareness of a room to the other instances.
    pub(super) fn announce_awareness(&self, awareness: Awareness) {
        let channel = Channel::Bucket(Bucket::of(awareness.room));
        self.send(channel, &Message::Awareness(awareness));
    }

    /// Keeps this instance subscribed to a room's bucket.
    pub(super) fn serve(&self, room: RoomId) -> Option<ServedBucket> {
        let backplane = Arc::clone(self.backplane.as_ref()?);
        let bucket = Bucket::of(room);
        backplane.serve(bucket);
        Some(ServedBucket { backplane, bucket })
    }
}

/// Keeps the instance subscribed to a bucket.
pub(super) struct ServedBucket {
    backplane: Arc<dyn Backplane>,
    bucket: Bucket,
}

impl Drop for ServedBucket {
    fn drop(&mut self) {
        self.backplane.release(self.bucket);
    }
}
