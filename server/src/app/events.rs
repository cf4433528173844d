//! Following a room: what changed since a position, and everything from then on.

use super::{
    Actor, App, Error, Result, StreamTicket,
    access::{NO_SUCH_ROOM, RoomAccess},
    accounts::session_revoked,
};
use crate::{live::Feed, store::Read};
use chrono::{DateTime, Utc};
use roost_schema::{ErrorCode, Position, RoomEvents, RoomId, Secret, Seq};

/// The error for a ticket that opens no stream.
pub const BAD_TICKET: Error = Error::refused(
    ErrorCode::Unauthenticated,
    "the ticket was used, has expired, or never was one for this room",
);

impl App {
    /// A ticket that opens a stream of a room for the actor, on any instance, and when it expires.
    pub async fn issue_stream_ticket(
        &self,
        actor: &Actor,
        room: RoomId,
    ) -> Result<(Secret, DateTime<Utc>)> {
        self.enter_room(actor, room, Read).await?;
        self.tokens.issue_ticket(actor, room, self.store.now())
    }

    /// Reads a ticket for a room. The caller has to check whether it was used before. Errors: `unauthenticated`,
    /// `session_revoked`.
    pub fn read_stream_ticket(&self, ticket: &str, room: RoomId) -> Result<StreamTicket> {
        let ticket = self.tokens.read_ticket(ticket, room, self.store.now());
        let ticket = ticket.ok_or(BAD_TICKET)?;
        if self.live.revocations.is_revoked(ticket.actor.session_id) {
            return Err(session_revoked());
        }
        Ok(ticket)
    }

    /// A page of the changes after a position; without a position, of the room's full state. `live`: it is the last
    /// page.
    pub async fn list_events(
        &self,
        actor: &Actor,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<RoomEvents> {
        let access = self.enter_room(actor, room, Read).await?;
        // A page has to contain every write that was acknowledged before, on any instance.
        self.refresh_in(&access).await?;
        let from_the_start = Position {
            seq: Seq::ZERO,
            ..self.position_in(&access).await?
        };
        let after = after.unwrap_or(from_the_start);
        let mut feed = self.watch_in(&access, Some(after)).await?;
        let page = feed.page().await?.ok_or(NO_SUCH_ROOM)?;
        Ok(page.content())
    }

    /// The room's frames: first the changes after the position (`None`: from now on), then each as it happens. Ends
    /// when the actor is removed from the room.
    pub async fn watch_room(
        &self,
        actor: &Actor,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<Feed> {
        let access = self.enter_room(actor, room, Read).await?;
        self.follow_room(&access, after).await
    }

    /// Without a position the feed begins after every write that was acknowledged until now, on any instance.
    pub(super) async fn follow_room(
        &self,
        access: &RoomAccess<Read>,
        after: Option<Position>,
    ) -> Result<Feed> {
        if after.is_none() {
            self.refresh_in(access).await?;
        }
        self.watch_in(access, after).await
    }
}
