//! Who is in a room now. A port: in process for one instance, Redis for several.
//!
//! A person is here while one of their connections to any instance is. When the last one is lost they
//! are moving, and gone after 10 s unless one comes back; when it leaves on purpose they are gone at
//! once. Promises of every implementation, held by one contract test (`tests/it/presence.rs`):
//!
//! * Only the first connection of a person and the end of the last one are told: `here`, `moving`,
//!   `gone`, never the same twice in a row.
//! * To whoever listens on this instance, what happens on it is told at once: nothing but
//!   [`Presence::read`] waits for anybody, and that for 50 ms at most.
//! * Versions rise by one with each change that is told: whoever is too slow and misses some sees it.
//! * Whoever reads after they began to listen misses nothing.
//! * The connections of this instance are known exactly, whatever else is lost.

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
/// Ephemera a connection may be behind before it misses some.
const EPHEMERA_CAPACITY: usize = 64;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The person may be back soon.
    Lost,
    OnPurpose,
}

/// What is told of a room's presence from some moment on.
pub type PresenceChanges = broadcast::Receiver<Arc<PresenceChanged>>;

/// See the file's head for its promises.
#[async_trait]
pub trait Presence: Send + Sync {
    /// What is told of a room from now on.
    fn listen(&self, room: RoomId) -> PresenceChanges;

    /// Who is here or moving, by id.
    async fn read(&self, room: RoomId) -> Vec<roost_schema::Presence>;

    /// One more connection of a person to this instance is in the room.
    fn arrive(&self, room: RoomId, user: UserId);

    /// One connection less.
    fn depart(&self, room: RoomId, user: UserId, departure: Departure);

    /// Whether a connection of the person to this instance is in the room.
    fn is_here(&self, room: RoomId, user: UserId) -> bool;

    /// Takes what another instance told of.
    fn hear(&self, record: Record);

    /// What others told of these rooms may have been missed.
    fn doubt(&self, is_meant: &dyn Fn(RoomId) -> bool);
}

/// Something that is told once and kept nowhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Ephemeral {
    Presence(Arc<PresenceChanged>),
    Awareness(Arc<Awareness>),
}

/// What a connection hears of a room besides its changes.
pub struct Ephemera {
    presence: PresenceChanges,
    awareness: broadcast::Receiver<Arc<Awareness>>,
}

impl Ephemera {
    /// The next thing to tell. Whoever is too slow misses some; a gap in the presence version shows.
    /// Safe to cancel.
    pub async fn next(&mut self) -> Ephemeral {
        tokio::select! {
            changed = next_of(&mut self.presence) => Ephemeral::Presence(changed),
            awareness = next_of(&mut self.awareness) => Ephemeral::Awareness(awareness),
        }
    }
}

async fn next_of<T: Clone>(told: &mut broadcast::Receiver<T>) -> T {
    loop {
        match told.recv().await {
            Ok(next) => return next,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Keeps a person present in a room through one connection. Dropped: the connection is lost.
pub struct Here {
    room: Arc<LiveRoom>,
    user: UserId,
    departure: Departure,
}

impl Here {
    /// Leaves on purpose: gone at once, not moving.
    pub fn leave(mut self) {
        self.departure = Departure::OnPurpose;
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let presence = &self.room.instance.presence;
        presence.depart(self.room.id(), self.user, self.departure);
    }
}

impl LiveRoom {
    /// Makes a person present through one more connection. Answers who is present then, and what is
    /// told of the room from before that on.
    pub async fn arrive(
        self: Arc<Self>,
        user: UserId,
    ) -> (Here, Ephemera, Vec<roost_schema::Presence>) {
        let ephemera = Ephemera {
            presence: self.instance.presence.listen(self.id()),
            awareness: self.awareness.listen(),
        };
        let mut present = self.present().await;
        // Nothing waits from here on: whoever is given up before this has not been here.
        self.instance.presence.arrive(self.id(), user);
        present.retain(|presence| presence.user_id != user);
        present.push(roost_schema::Presence {
            user_id: user,
            state: PresenceState::Here,
        });
        present.sort_by_key(|presence| presence.user_id);
        let here = Here {
            room: self,
            user,
            departure: Departure::Lost,
        };
        (here, ephemera, present)
    }

    /// Who is here or moving, by id.
    pub async fn present(&self) -> Vec<roost_schema::Presence> {
        self.instance.presence.read(self.id()).await
    }
}
