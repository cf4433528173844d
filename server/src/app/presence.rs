//! Presence: joining a room from a connection, cursors, typing, and the people in a room.

use super::{Actor, App, Error, Result};
use crate::{
    live::{EphemeralEvents, Feed, PresenceGuard},
    store::Read,
};
use roost_schema::{Cursor, InRoom, JoinRoom, JoinedRoom, MoveCursor, Presence, RoomId};

/// A connection that has joined a room.
pub struct Joined {
    pub answer: JoinedRoom,
    /// The room's changes.
    pub feed: Feed,
    /// The room's presence and awareness.
    pub ephemeral_events: EphemeralEvents,
    /// Keeps the person present. `leave` it when they leave on purpose; when it is dropped, the connection counts as
    /// lost, and the person as moving for 10 s.
    pub guard: PresenceGuard,
}

impl App {
    /// Joins a room: its feed, its ephemeral events, and the person's presence.
    pub async fn join_room(&self, actor: &Actor, input: JoinRoom) -> Result<Joined> {
        let access = self.enter_room(actor, input.room, Read).await?;
        let feed = self.follow_room(&access, input.after).await?;
        let (guard, ephemeral_events, presence) = self.arrive_in(&access).await;
        let answer = JoinedRoom {
            position: feed.position(),
            role: access.role(),
            presence,
        };
        Ok(Joined {
            answer,
            feed,
            ephemeral_events,
            guard,
        })
    }

    pub async fn list_presence(&self, actor: &Actor, room: RoomId) -> Result<Vec<Presence>> {
        let access = self.enter_room(actor, room, Read).await?;
        Ok(self.present_in(&access).await)
    }

    /// Shows where the actor's cursor is. Ephemeral: merged per person, sent once per tick.
    ///
    /// Errors: `conflict` unless the actor has joined the room.
    pub fn move_cursor(&self, actor: &Actor, input: &MoveCursor) -> Result<()> {
        let (x, y) = (input.x, input.y);
        refuse_absent(self.show_cursor(actor, input.room, Cursor { x, y }))
    }

    /// Shows that the actor is typing. Ephemeral, as cursors are.
    pub fn start_typing(&self, actor: &Actor, input: &InRoom) -> Result<()> {
        refuse_absent(self.show_typing(actor, input.room))
    }
}

fn refuse_absent(is_shown: bool) -> Result<()> {
    if is_shown {
        Ok(())
    } else {
        Err(Error::conflict("join the room first"))
    }
}
