//! What exists only while people are connected. Nothing here survives a restart.
//!
//! `room/` is one room on this instance, `cluster/` the other instances, `presence/` who is where. `instance.rs` is
//! what the rooms share; only there does a room meet the other instances.

mod cluster;
mod instance;
mod limits;
mod presence;
mod room;
mod stats;

pub use cluster::{
    Arrival, Arrivals, BEACON_EVERY, Backplane, Beacon, BootTime, Bucket, Channel, FENCE_AFTER,
    Fence, LEASE, Link, Mark, PeerSpeaks, Peers, REGISTRY_KNOWN_FOR, REGISTRY_LEASE,
    REQUEST_PATIENCE, REVOCATION_KEPT, Redis, RedisBackplane, RedisDiagnostics, RedisDown,
    RedisPresence, Revocations, SILENT_AFTER, SPEAKS, Spoken, Word,
};
pub use limits::{Limiter, Rate};
pub use presence::{
    Departure, EphemeralEvent, EphemeralEvents, LocalPresence, MOVING_MAX, Presence,
    PresenceChanges, PresenceGuard, Record,
};
pub use room::{
    ActiveRoom, Change, Feed, Frame, Judge, LiveRoom, MAILBOX_CAPACITY_BYTES,
    MAILBOX_CAPACITY_WRITES, QueuedWrite, Refusal, RoomView, Write, Written,
};
pub use stats::LiveStats;

use crate::store::journal::{Journal, JournalError};
use cluster::{Inbound, Message};
use instance::{Instance, Parts};
use roost_schema::{InstanceId, RoomId, SessionId};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why a room did not take a write or a watcher.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the room's mailbox is full")]
    Overloaded { retry_after: Duration },
    #[error("the position belongs to another epoch of the journal")]
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

/// Why a room cannot be read until an operator has mended what is stored of it.
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

/// The rooms that are active on this instance, the sessions that were revoked, and the other instances.
pub struct Live {
    pub revocations: Arc<Revocations>,
    pub peers: Arc<Peers>,
    /// When the stores last answered this instance.
    pub stores_answered: Arc<Mark>,
    is_joining: Arc<AtomicBool>,
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
pub struct NodeContext {
    pub id: InstanceId,
    pub name: String,
    /// `None`: there are no other instances.
    pub backplane: Option<(Arc<dyn Backplane>, Arrivals)>,
    pub peers: Arc<Peers>,
    pub presence: Arc<dyn Presence>,
    /// Others may be of a later release and not know of this one yet: nothing but their beacons is received until
    /// [`Live::has_joined`].
    pub is_joining: bool,
}

impl NodeContext {
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
        node: NodeContext,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let (backplane, arrivals) = node.backplane.unzip();
        let instance = Instance::new(Parts {
            id: node.id,
            journal,
            backplane,
            peers: node.peers,
            presence: node.presence,
            tasks,
            cancel,
        });
        instance.tasks.spawn(cluster::sweep(Arc::clone(&instance)));
        let watch = instance.fence.clone().keep_watch(instance.cancel.clone());
        instance.tasks.spawn(watch);
        let live = Arc::new(Self {
            revocations: Arc::default(),
            peers: Arc::clone(&instance.peers),
            stores_answered: Arc::default(),
            is_joining: Arc::new(AtomicBool::new(node.is_joining)),
            identity: Identity {
                id: node.id,
                name: node.name,
                started: SystemTime::now(),
            },
            instance,
        });
        if let Some(arrivals) = arrivals {
            let instance = Arc::clone(&live.instance);
            let inbound = Inbound {
                instance: Arc::clone(&instance),
                revocations: Arc::clone(&live.revocations),
                is_joining: Arc::clone(&live.is_joining),
            };
            let stores_answered = Arc::clone(&live.stores_answered);
            let tasks = instance.tasks.clone();
            tasks.spawn(inbound.take_arrivals(arrivals));
            tasks.spawn(cluster::send_beacons(instance, stores_answered));
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
        self.instance.link()
    }

    /// Whether nothing is committed elsewhere.
    pub fn is_alone(&self) -> bool {
        self.instance.backplane.is_none()
    }

    /// How this instance is doing.
    pub fn stats(&self) -> LiveStats {
        LiveStats::of(&self.instance)
    }

    /// Whether every instance understands what came with this number.
    pub fn speaks(&self, number: u32) -> bool {
        cluster::may_use(number, &self.peers, self.fence())
    }

    /// The number that instances use between them, and those that speak less.
    pub fn spoken(&self) -> Spoken {
        Spoken::of(&self.peers, self.fence())
    }

    /// Announces sessions that ended to the other instances.
    pub fn announce_revoked(&self, sessions: &[SessionId]) {
        if !sessions.is_empty() {
            let message = Message::Revoked(sessions.to_vec());
            self.instance.send(Channel::Everyone, &message);
        }
    }

    /// Makes every active room look for what it missed.
    pub fn look_everywhere(&self) {
        cluster::look_again(&self.instance, |_| true);
    }

    /// Notes that the others know of this instance. Entries that they announced before are found in the stores.
    pub fn has_joined(&self) {
        if self.is_joining.swap(false, Ordering::AcqRel) {
            self.look_everywhere();
        }
    }

    /// The room, loaded in the background when it is not active yet.
    pub fn room(&self, id: RoomId) -> LiveRoom {
        self.instance.hold(id)
    }

    /// The room, if it is active.
    pub fn active_room(&self, id: RoomId) -> Option<LiveRoom> {
        self.instance.hold_active(id)
    }
}

/// Rooms hold their instance, and it holds them. Without this their memory and their connections to the stores would
/// never be freed.
impl Drop for Live {
    fn drop(&mut self) {
        drop(std::mem::take(&mut *self.instance.rooms()));
    }
}
