//! What exists only while people are connected. Nothing here survives a restart.

mod answering;
mod backplane;
mod bus;
mod catch_up;
#[cfg(test)]
mod compat;
mod deliveries;
mod feed;
mod fence;
mod inbound;
mod judging;
mod kept_items;
mod limits;
mod mailbox;
mod message;
mod peers;
mod presence;
mod redis;
mod remote;
mod reorder;
mod retry;
mod revocations;
mod ring;
mod room;
mod speaks;
mod sweep;
mod view;
mod vitals;
mod write;

pub use backplane::{Arrival, Arrivals, Backplane, Bucket, Channel, Link};
pub use feed::{Feed, Frame};
pub use fence::{BootTime, FENCE_AFTER, Fence, Mark};
pub use limits::{Limiter, Rate};
pub use peers::{BEACON_EVERY, Beacon, Peers, REGISTRY_LEASE, SILENT_AFTER, Word};
pub use presence::{
    Departure, EphemeralEvent, EphemeralEvents, LocalPresence, MOVING_MAX, Presence,
    PresenceChanges, PresenceGuard, Record,
};
pub use redis::{
    LEASE, REQUEST_PATIENCE, Redis, RedisBackplane, RedisDiagnostics, RedisDown, RedisPresence,
};
pub use revocations::{REVOCATION_KEPT, Revocations};
pub use room::{LiveRoom, MAILBOX_CAPACITY_BYTES, MAILBOX_CAPACITY_WRITES};
pub use speaks::{PeerSpeaks, REGISTRY_KNOWN_FOR, SPEAKS, Spoken};
pub use view::{Refusal, RoomView};
pub use vitals::Vitals;
pub use write::{Change, Judge, QueuedWrite, Write, Written};

use crate::store::journal::{Entry, FindQuery, FindRoom, Journal, JournalError};
use deliveries::Deliveries;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{Direction, InstanceId, Kind, RoomId};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of writes that may wait on this instance, in all rooms together.
const INSTANCE_WRITE_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Journal reads for feeds that may run at once.
const FEED_READS_MAX: usize = 4;
/// Members read at once when a room is loaded.
const LOAD_PAGE_ITEMS: usize = 1_000;

/// Why a room did not take a write or a watcher.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the room's mailbox is full")]
    Overloaded { retry_after: Duration },
    #[error("the position belongs to another life of the journal")]
    ReloadRequired,
    #[error("the outcome of the write is unknown")]
    OutcomeUnknown,
    #[error("the journal does not answer")]
    Unavailable,
    /// Nothing was written.
    #[error("this instance may not write")]
    Fenced,
    #[error("what the journal holds of the room cannot be read")]
    Unsound,
    #[error("what the journal holds of the room is not what was written")]
    Corrupt,
}

/// Why a room cannot be read until somebody has mended what is stored of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Unsound,
    Corrupt,
}

impl Damage {
    const fn of(error: &JournalError) -> Option<Self> {
        match error {
            JournalError::Unsound(_) => Some(Self::Unsound),
            JournalError::Corrupt { .. } => Some(Self::Corrupt),
            _ => None,
        }
    }
}

impl From<Damage> for LiveError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Unsound => Self::Unsound,
            Damage::Corrupt => Self::Corrupt,
        }
    }
}

impl From<JournalError> for LiveError {
    fn from(error: JournalError) -> Self {
        if let Some(damage) = Damage::of(&error) {
            tracing::error!(%error, "what the journal holds cannot be read");
            return damage.into();
        }
        tracing::warn!(%error, "the journal cannot be read");
        Self::Unavailable
    }
}

/// The rooms that are active on this instance, who is cut off from it, and the way to the others.
pub struct Live {
    pub revocations: Revocations,
    pub peers: Arc<Peers>,
    /// When the stores last answered this instance.
    pub stores_answered: Mark,
    is_joining: AtomicBool,
    identity: Identity,
    instance: Arc<Instance>,
}

/// This run of this instance.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: InstanceId,
    /// What people call it; several may be called alike.
    pub name: String,
    pub started: SystemTime,
}

/// What this instance is to the others.
pub struct Place {
    pub id: InstanceId,
    pub name: String,
    /// None: there are no others.
    pub backplane: Option<(Arc<dyn Backplane>, Arrivals)>,
    pub peers: Arc<Peers>,
    pub presence: Arc<dyn Presence>,
    /// Others may be of a later release and not know of this one yet: nothing but their beacons is heard until
    /// [`Live::has_joined`].
    pub is_joining: bool,
}

impl Place {
    /// The only instance there is.
    pub fn alone() -> Self {
        Self {
            id: InstanceId::generate(),
            name: String::new(),
            backplane: None,
            peers: Arc::default(),
            presence: Arc::new(LocalPresence::default()),
            is_joining: false,
        }
    }
}

impl Live {
    /// Starts with no room active. Every task it starts runs on `tasks`; once `cancel` fires,
    /// mailboxes answer what is queued and end.
    pub fn new(
        journal: Arc<dyn Journal>,
        place: Place,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let (backplane, arrivals) = place.backplane.unzip();
        let instance = Arc::new(Instance {
            id: place.id,
            journal,
            backplane,
            peers: place.peers,
            presence: place.presence,
            deliveries: Deliveries::default(),
            fence: Fence::default(),
            tasks,
            cancel,
            rooms: Mutex::default(),
            write_bytes: Arc::new(Semaphore::new(INSTANCE_WRITE_BYTES_MAX)),
            feed_reads: Semaphore::new(FEED_READS_MAX),
        });
        instance.tasks.spawn(sweep::run(Arc::clone(&instance)));
        let watch = instance.fence.clone().keep_watch(instance.cancel.clone());
        instance.tasks.spawn(watch);
        let live = Arc::new(Self {
            revocations: Revocations::default(),
            peers: Arc::clone(&instance.peers),
            stores_answered: Mark::default(),
            is_joining: AtomicBool::new(place.is_joining),
            identity: Identity {
                id: place.id,
                name: place.name,
                started: SystemTime::now(),
            },
            instance,
        });
        if let Some(arrivals) = arrivals {
            let tasks = live.instance.tasks.clone();
            tasks.spawn(inbound::run(Arc::clone(&live), arrivals));
            tasks.spawn(inbound::send_beacons(Arc::clone(&live)));
        }
        live
    }

    /// This run of this instance.
    pub fn instance_id(&self) -> InstanceId {
        self.instance.id
    }

    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this instance may send and write.
    pub fn fence(&self) -> &Fence {
        &self.instance.fence
    }

    /// How the way to the other instances is; `None` when this one is meant to be alone.
    pub fn link(&self) -> Option<Link> {
        let backplane = self.instance.backplane.as_ref()?;
        Some(*backplane.link().borrow())
    }

    /// Whether nothing is committed elsewhere.
    pub fn is_alone(&self) -> bool {
        self.instance.backplane.is_none()
    }

    /// The room, loaded in the background when it is not active yet.
    pub fn room(&self, id: RoomId) -> Arc<LiveRoom> {
        let mut rooms = self.instance.rooms();
        if let Some(room) = rooms.get(&id) {
            return Arc::clone(room);
        }
        let (room, mailbox) = LiveRoom::open(id, Arc::clone(&self.instance));
        rooms.insert(id, Arc::clone(&room));
        let instance = Arc::clone(&self.instance);
        self.instance.tasks.spawn(mailbox.run(instance));
        room
    }

    /// The room, if it is active.
    pub fn active_room(&self, id: RoomId) -> Option<Arc<LiveRoom>> {
        self.instance.rooms().get(&id).map(Arc::clone)
    }
}

/// Rooms hold their instance, and it holds them: without this nothing of it would ever be given back, its
/// connections to stores included.
impl Drop for Live {
    fn drop(&mut self) {
        drop(std::mem::take(&mut *self.instance.rooms()));
    }
}

/// What the rooms of this instance share.
pub(crate) struct Instance {
    id: InstanceId,
    journal: Arc<dyn Journal>,
    backplane: Option<Arc<dyn Backplane>>,
    peers: Arc<Peers>,
    presence: Arc<dyn Presence>,
    deliveries: Deliveries,
    fence: Fence,
    tasks: TaskTracker,
    cancel: CancellationToken,
    rooms: Mutex<HashMap<RoomId, Arc<LiveRoom>>>,
    write_bytes: Arc<Semaphore>,
    feed_reads: Semaphore,
}

impl Instance {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<LiveRoom>>> {
        self.rooms.lock()
    }

    /// Takes a room out of the map if nobody but its mailbox holds it and nothing is queued. While
    /// the map is locked nobody can come by a room that only the map holds.
    fn forget_idle(
        &self,
        room: &Arc<LiveRoom>,
        inbox: &mpsc::Receiver<write::PendingWrite>,
    ) -> bool {
        const HELD_BY_MAP_AND_MAILBOX: usize = 2;
        let mut rooms = self.rooms();
        let is_idle = Arc::strong_count(room) == HELD_BY_MAP_AND_MAILBOX && inbox.is_empty();
        if is_idle {
            rooms.remove(&room.id());
        }
        is_idle
    }

    fn forget(&self, room: RoomId) {
        self.rooms().remove(&room);
    }

    /// Whether what is committed elsewhere may not be told here.
    fn is_deaf(&self) -> bool {
        self.is_cut_off() || self.peers.is_any_silent()
    }

    /// Whether nothing can be told here.
    fn is_cut_off(&self) -> bool {
        let backplane = self.backplane.as_ref();
        backplane.is_some_and(|backplane| !backplane.link().borrow().is_up())
    }
}

/// Every living item of a kind in a room.
async fn read_all(
    journal: &dyn Journal,
    room: RoomId,
    kind: &Kind,
) -> Result<Vec<Entry>, JournalError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let beyond = entries.last().map(|entry| entry.born);
        let query = FindQuery::all(kind.clone(), Direction::Newer, LOAD_PAGE_ITEMS);
        let page = journal.find_in(FindRoom { room, beyond }, query).await?;
        let is_last = !page.more || page.entries.is_empty();
        entries.extend(page.entries);
        if is_last {
            return Ok(entries);
        }
    }
}
