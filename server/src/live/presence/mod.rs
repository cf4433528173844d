//! Who is in a room now. A port: in process for one instance, Redis for several.
//!
//! A person is here while one of their connections to any instance is in the room. When the last one is lost they are
//! moving, and gone after 10 s unless one comes back; when the last one leaves on purpose they are gone at once. Every
//! implementation promises this, and one contract test checks it (`tests/it/presence.rs`):
//!
//! * A change is announced only for a person's first connection and the end of their last one: `here`, `moving`,
//!   `gone`, never the same state twice in a row.
//! * A change on this instance is announced to its listeners at once. Only [`Presence::read`] waits, for 50 ms at most.
//! * The version rises by one with each announced change, so that a listener that is too slow sees that it missed some.
//! * A listener that reads after it began to listen misses no change.
//! * The connections of this instance are known exactly, even while Redis or the backplane is down.

mod awareness;
mod local;
mod people;
mod record;

pub use local::LocalPresence;
pub use record::Record;
pub(super) use {awareness::AwarenessBoard, people::People};

use super::LiveRoom;
use async_trait::async_trait;
use roost_schema::{Awareness, PresenceChanged, PresenceState, RoomId, UserId};
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast::{self, error::RecvError};

/// How long a person whose connection was lost may take to come back.
pub const MOVING_MAX: Duration = Duration::from_secs(10);
/// Ephemeral events that wait for a listener. A listener that is further behind misses some.
const EPHEMERAL_CAPACITY: usize = 64;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The person may be back soon.
    Lost,
    OnPurpose,
}

/// The changes of a room's presence from some moment on.
pub type PresenceChanges = broadcast::Receiver<Arc<PresenceChanged>>;

/// The head of this file has the promises of every implementation.
#[async_trait]
pub trait Presence: Send + Sync {
    /// The changes of a room's presence from now on.
    fn listen(&self, room: RoomId) -> PresenceChanges;

    /// The people who are here or moving, by id.
    async fn read(&self, room: RoomId) -> Vec<roost_schema::Presence>;

    /// Adds a connection of a person to this instance.
    fn arrive(&self, room: RoomId, user: UserId);

    /// Removes a connection of a person to this instance.
    fn depart(&self, room: RoomId, user: UserId, departure: Departure);

    /// Whether a connection of the person to this instance is in the room.
    fn is_here(&self, room: RoomId, user: UserId) -> bool;

    /// Applies a record that another instance announced.
    fn apply_remote(&self, record: Record);

    /// Reads the rooms anew for which `is_affected` holds: records of them may have been missed.
    fn invalidate(&self, is_affected: &dyn Fn(RoomId) -> bool);
}

/// An event of a room that is sent once, and that the journal does not keep.
#[derive(Clone, Debug, PartialEq)]
pub enum EphemeralEvent {
    Presence(Arc<PresenceChanged>),
    Awareness(Arc<Awareness>),
}

/// The ephemeral events of a room, for one connection.
pub struct EphemeralEvents {
    presence: PresenceChanges,
    awareness: broadcast::Receiver<Arc<Awareness>>,
}

impl EphemeralEvents {
    /// The next event. A connection that is too slow misses some, which a gap in the presence version shows. Safe to
    /// cancel.
    pub async fn next(&mut self) -> EphemeralEvent {
        tokio::select! {
            changed = next_of(&mut self.presence) => EphemeralEvent::Presence(changed),
            awareness = next_of(&mut self.awareness) => EphemeralEvent::Awareness(awareness),
        }
    }
}

async fn next_of<T: Clone>(events: &mut broadcast::Receiver<T>) -> T {
    loop {
        match events.recv().await {
            Ok(next) => return next,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Keeps a person present in a room through one connection. When it is dropped, the connection counts as lost.
pub struct PresenceGuard {
    room: LiveRoom,
    user: UserId,
    departure: Departure,
}

impl PresenceGuard {
    /// Leaves on purpose: gone at once, not moving.
    pub fn leave(mut self) {
        self.departure = Departure::OnPurpose;
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        let presence = &self.room.instance.presence;
        presence.depart(self.room.id(), self.user, self.departure);
    }
}

impl LiveRoom {
    /// Makes a person present through one more connection. Returns the people who are present then, and the ephemeral
    /// events from before that on.
    pub async fn arrive(
        self,
        user: UserId,
    ) -> (PresenceGuard, EphemeralEvents, Vec<roost_schema::Presence>) {
        let events = EphemeralEvents {
            presence: self.instance.presence.listen(self.id()),
            awareness: self.awareness.listen(),
        };
        let mut present = self.present().await;
        // No await from here to the guard: a join that is cancelled before this has added no connection.
        self.instance.presence.arrive(self.id(), user);
        present.retain(|presence| presence.user_id != user);
        present.push(roost_schema::Presence {
            user_id: user,
            state: PresenceState::Here,
        });
        present.sort_by_key(|presence| presence.user_id);
        let guard = PresenceGuard {
            room: self,
            user,
            departure: Departure::Lost,
        };
        (guard, events, present)
    }

    /// The people who are here or moving, by id.
    pub async fn present(&self) -> Vec<roost_schema::Presence> {
        self.instance.presence.read(self.id()).await
    }
}
