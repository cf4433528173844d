//! What exists only while people are connected. Nothing here survives a restart.

mod bus;
mod catch_up;
mod feed;
mod mailbox;
mod presence;
mod revocations;
mod room;
mod sweep;
mod view;
mod write;

pub use feed::{Feed, Frame};
pub use presence::{Ephemera, Ephemeral, Here};
pub use revocations::{REVOCATION_KEPT, Revocations};
pub use room::{LiveRoom, MAILBOX_CAPACITY_BYTES, MAILBOX_CAPACITY_WRITES};
pub use view::{Refusal, RoomView};
pub use write::{Change, Judge, Write, Written};

use crate::store::journal::{Entry, HistoryQuery, Journal, JournalError};
use roost_schema::{Direction, Kind, RoomId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
}

impl From<JournalError> for LiveError {
    fn from(error: JournalError) -> Self {
        tracing::warn!(%error, "the journal cannot be read");
        Self::Unavailable
    }
}

/// The rooms that are active on this instance, and who is cut off from it.
pub struct Live {
    pub revocations: Revocations,
    instance: Arc<Instance>,
}

impl Live {
    /// Starts with no room active. Every task it starts runs on `tasks`; once `cancel` fires,
    /// mailboxes answer what is queued and end.
    pub fn new(
        journal: Arc<dyn Journal>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let instance = Arc::new(Instance {
            journal,
            tasks,
            cancel,
            rooms: Mutex::default(),
            write_bytes: Arc::new(Semaphore::new(INSTANCE_WRITE_BYTES_MAX)),
            feed_reads: Semaphore::new(FEED_READS_MAX),
        });
        instance.tasks.spawn(sweep::run(Arc::clone(&instance)));
        Arc::new(Self {
            revocations: Revocations::default(),
            instance,
        })
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

/// What the rooms of this instance share.
pub(crate) struct Instance {
    journal: Arc<dyn Journal>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    rooms: Mutex<HashMap<RoomId, Arc<LiveRoom>>>,
    write_bytes: Arc<Semaphore>,
    feed_reads: Semaphore,
}

impl Instance {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<LiveRoom>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a room out of the map if nobody but its mailbox holds it and nothing is queued. While
    /// the map is locked nobody can come by a room that only the map holds.
    fn forget_idle(&self, room: &Arc<LiveRoom>, inbox: &mpsc::Receiver<write::Mail>) -> bool {
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
}

/// Every living item of a kind in a room.
async fn read_all(
    journal: &dyn Journal,
    room: RoomId,
    kind: Kind,
) -> Result<Vec<Entry>, JournalError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let query = HistoryQuery {
            kind,
            direction: Direction::Newer,
            beyond: entries.last().map(|entry| entry.born),
            limit_items: LOAD_PAGE_ITEMS,
        };
        let page = journal.history(room, query).await?;
        let is_last = !page.more || page.entries.is_empty();
        entries.extend(page.entries);
        if is_last {
            return Ok(entries);
        }
    }
}
