//! The record of one person in one room, which instances announce to each other.

use roost_schema::{InstanceId, RoomId, UserId};
use serde::{Deserialize, Serialize};

/// A person in a room, as Redis holds them after the change `revision` of the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub room: RoomId,
    /// The generation of Redis: another one after it was emptied.
    pub generation: String,
    /// Rises by one with each change of the room's records.
    pub revision: u64,
    pub user: UserId,
    /// The instances to which the person is connected.
    pub instances: Vec<InstanceId>,
    /// Whether the last connection was lost a moment ago.
    pub is_moving: bool,
}
