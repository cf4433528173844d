//! How an instance is doing, in a few numbers.

use super::{
    Link,
    instance::{INSTANCE_WRITE_BYTES_MAX, Instance},
};
use std::time::Duration;

/// The state of an instance at one moment.
#[derive(Clone, Copy, Debug)]
pub struct LiveStats {
    /// Rooms that are active here.
    pub rooms: usize,
    /// Writes that wait in their mailboxes, and the bytes they hold.
    pub writes_waiting: usize,
    pub write_bytes_waiting: usize,
    /// How the way to the other instances is; `None` when this one is meant to be alone.
    pub link: Option<Link>,
    /// How old the newest change was that came from another instance lately.
    pub delivery_lag: Option<Duration>,
    /// Whether a registered instance sends no beacons.
    pub has_silent_peer: bool,
}

impl LiveStats {
    pub(super) fn of(instance: &Instance) -> Self {
        let (rooms, writes_waiting) = {
            let rooms = instance.rooms();
            let waiting = rooms.values().map(|room| room.writes_waiting()).sum();
            (rooms.len(), waiting)
        };
        let left_bytes = instance.write_bytes.available_permits();
        Self {
            rooms,
            writes_waiting,
            write_bytes_waiting: INSTANCE_WRITE_BYTES_MAX.saturating_sub(left_bytes),
            link: instance.link(),
            delivery_lag: instance.deliveries.recent_lag(),
            has_silent_peer: instance.backplane.is_some() && instance.peers.is_any_silent(),
        }
    }
}
