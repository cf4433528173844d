//! The other instances: the way to them, what is announced over it, who they are, and what keeps this instance from
//! acting on what it cannot know.

mod backplane;
#[cfg(test)]
mod compat;
mod fence;
mod inbound;
mod message;
mod peers;
mod redis;
mod revocations;
mod speaks;
mod sweep;

pub use backplane::{Arrival, Arrivals, Backplane, Bucket, Channel, Link};
pub use fence::{BootTime, FENCE_AFTER, Fence, Mark};
pub use peers::{BEACON_EVERY, Beacon, Peers, REGISTRY_LEASE, SILENT_AFTER, Word};
pub use redis::{
    LEASE, REQUEST_PATIENCE, Redis, RedisBackplane, RedisDiagnostics, RedisDown, RedisPresence,
};
pub use revocations::{REVOCATION_KEPT, Revocations};
pub use speaks::{PeerSpeaks, REGISTRY_KNOWN_FOR, SPEAKS, Spoken};
pub(super) use {
    inbound::{Inbound, look_again, send_beacons},
    message::{Message, send_entries},
    redis::{Charge, charge},
    speaks::may_use,
    sweep::run as sweep,
};

use super::{instance::Instance, presence};
