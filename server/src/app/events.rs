//! Following a room: what changed since a position, and everything from then on.

use super::{Actor, App, Result};
use crate::live::Feed;
use roost_schema::{Position, RoomEvents, RoomId};

impl App {
    /// What changed after a position, one page of at most 1 MiB; without one, the room's full state.
    pub async fn list_events(
        &self,
        actor: &Actor,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<RoomEvents> {
        todo!()
    }

    /// Frames without end: first what changed after the position (none: from now on), then live.
    /// Ends when the actor is removed from the room.
    pub async fn watch_room(
        &self,
        actor: &Actor,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<Feed> {
        todo!()
    }
}
