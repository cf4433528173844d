//! What instances tell each other of one person in one room.

use roost_schema::{InstanceId, RoomId, UserId};
use serde::{Deserialize, Serialize};

/// A person in a room, as Redis holds them after its change `revision` of the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub room: RoomId,
    /// Which life of Redis this belongs to.
    pub generation: String,
    /// Rises by one with each change of the room's records.
    pub revision: u64,
    pub user: UserId,
    /// The instances to which the person is connected.
    pub instances: Vec<InstanceId>,
    /// The last connection was lost a moment ago.
    pub is_moving: bool,
}
