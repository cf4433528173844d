//! Being in a room: joining it from a connection, cursors, typing, who is here.

use super::{Actor, App, Result};
use crate::live::{Ephemera, Feed, Here};
use roost_schema::{InRoom, JoinRoom, JoinedRoom, MoveCursor, Presence, RoomId};

/// A connection's place in a room.
pub struct Joined {
    pub answer: JoinedRoom,
    /// The room's changes.
    pub feed: Feed,
    /// What needs no memory: presence and awareness.
    pub ephemera: Ephemera,
    /// Keeps the person present: `leave` it for an explicit leave; dropped, the connection counts
    /// as lost and the person as moving for 10 s.
    pub here: Here,
}

impl App {
    /// Joins a room: its feed, its ephemera, and the person's presence.
    pub async fn join_room(&self, actor: &Actor, input: JoinRoom) -> Result<Joined> {
        todo!()
    }

    pub async fn list_presence(&self, actor: &Actor, room: RoomId) -> Result<Vec<Presence>> {
        todo!()
    }

    /// Shows where the actor's cursor is. Ephemeral: merged per person, sent once per tick.
    pub fn move_cursor(&self, actor: &Actor, input: &MoveCursor) -> Result<()> {
        todo!()
    }

    /// Shows that the actor is typing. Ephemeral, as cursors are.
    pub fn start_typing(&self, actor: &Actor, input: &InRoom) -> Result<()> {
        todo!()
    }
}
