//! What exists only while people are connected. Nothing here survives a restart.

mod feed;
mod mailbox;
mod presence;
mod revocations;
mod room;

pub use feed::{Feed, Frame};
pub use mailbox::{Change, Write, Written};
pub use presence::{Ephemera, Ephemeral, Here};
pub use revocations::{REVOCATION_KEPT, Revocations};
pub use room::{LiveRoom, Refusal, RoomView};

use crate::store::journal::Journal;
use roost_schema::RoomId;
use std::{sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

/// The rooms that are active on this instance, and who is cut off from it.
pub struct Live {
    pub revocations: Revocations,
}

impl Live {
    pub fn new(
        journal: Arc<dyn Journal>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        todo!()
    }

    /// The room, loaded in the background when it is not active yet.
    pub fn room(&self, id: RoomId) -> Arc<LiveRoom> {
        todo!()
    }
}
