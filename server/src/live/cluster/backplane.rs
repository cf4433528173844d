//! Carries bytes between instances. A port: Redis, or nothing on one machine.
//!
//! Promises of every implementation, held by one contract test (`tests/it/backplane.rs`):
//!
//! * [`Backplane::send`] never waits: what cannot leave now is dropped and counted.
//! * At most once: what is sent reaches each other instance that serves the channel once, or not at all.
//! * What one instance sends on one channel arrives in the order it was sent.
//! * An instance does not receive its own messages.
//! * A bucket is received from the moment [`Arrival::Confirmed`] names it; what was sent before may be
//!   missing, and so may anything after [`Arrival::Missed`].
//!
//! So an event is a hint, and the journal is the truth. Local delivery is not the backplane's business.

use bytes::Bytes;
use roost_schema::RoomId;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The instances that receive what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Every instance.
    Everyone,
    /// The instances on which a room of this bucket is active.
    Bucket(Bucket),
}

/// Rooms share channels, so that their number is bounded: a room belongs to one of 1,024 buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    pub const COUNT: u16 = 1_024;

    /// The low bits of a `UUIDv7` are random, and the same on every instance.
    pub fn of(room: RoomId) -> Self {
        let [.., high, low] = room.as_uuid().into_bytes();
        Self(u16::from_be_bytes([high, low]) % Self::COUNT)
    }

    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What the backplane brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    Message(Bytes),
    /// These buckets are received from here on.
    Confirmed(Vec<Bucket>),
    /// Messages of any channel may have been lost.
    Missed,
}

/// How the way to the other instances is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Not up for the first time yet.
    #[default]
    Connecting,
    /// What this instance sends itself comes back.
    Up {
        since: Instant,
        /// How long the last canary took.
        lag: Duration,
    },
    Down,
}

impl Link {
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// For how long what this instance sends itself has come back; `None`: it does not.
    pub fn up_for(self) -> Option<Duration> {
        match self {
            Self::Up { since, .. } => Some(since.elapsed()),
            Self::Connecting | Self::Down => None,
        }
    }
}

/// See the file's head for its promises.
pub trait Backplane: Send + Sync {
    fn send(&self, channel: Channel, bytes: Bytes);

    /// Counts one more user of a bucket; with the first, the instance subscribes to it.
    fn serve(&self, bucket: Bucket);

    /// Counts one user less; some time after the last, the instance unsubscribes.
    fn release(&self, bucket: Bucket);

    fn link(&self) -> watch::Receiver<Link>;
}

/// The arrivals of a backplane in their order, for the one task that takes them.
pub type Arrivals = mpsc::Receiver<Arrival>;
