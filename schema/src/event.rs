//! What the server sends to clients: the frames of a room, and the messages about one socket.

use crate::{ErrorCode, Position, Role, RoomEvent, RoomId, SessionId, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Changes of a room in ascending order, with the position a reader has once it applied them.
/// One shape for the feed that catches a reader up and for what happens live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoomEvents {
    pub room: RoomId,
    pub events: Vec<RoomEvent>,
    /// Where to resume after this frame.
    pub position: Position,
    /// The reader is up to date with this frame: there is no more for now. Live or not, a change is left out that a
    /// later one supersedes.
    pub live: bool,
    /// Forget everything held of the room first: this frame begins its full state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// `room:join`: start receiving `room:events`, after a position or from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinRoom {
    pub room: RoomId,
    pub after: Option<Position>,
}

/// The answer to `room:join`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinedRoom {
    pub position: Position,
    pub role: Role,
    pub presence: Vec<Presence>,
}

/// `room:leave`, `typing:start`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InRoom {
    pub room: RoomId,
}

/// `cursor:move`: where the sender's pointer is, in the board's own units.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveCursor {
    pub room: RoomId,
    pub x: f64,
    pub y: f64,
}

/// A person who is in a room now, on any number of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Presence {
    pub user_id: UserId,
    pub state: PresenceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PresenceState {
    /// Connected.
    Here,
    /// The connection was lost; gone after 10 s unless it comes back.
    Moving,
    /// Left; only ever in `presence:changed`.
    Gone,
}

/// `presence:changed`: one person came, is moving, or left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceChanged {
    pub room: RoomId,
    /// Rises by one with each change of the room's presence; a gap means: read it again.
    pub version: u64,
    #[serde(flatten)]
    pub presence: Presence,
}

/// `room:awareness`: the latest of each person's cursor and typing since the last tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awareness {
    pub room: RoomId,
    pub people: Vec<PersonAwareness>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonAwareness {
    pub user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    pub x: f64,
    pub y: f64,
}

/// `auth:refresh`: keep this socket open with a newer access token of the same session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenewSocket {
    pub token: String,
}

/// `auth:expiring`: the socket closes at this time unless it renews.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthExpiring {
    pub session_id: SessionId,
    pub expires_at: DateTime<Utc>,
}

/// `room:closed`: this socket gets nothing more of the room, for example because it was removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomClosed {
    pub room: RoomId,
    pub code: ErrorCode,
    pub message: String,
}

/// `server:closing`: the transport closes now; a stock client reconnects by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerClosing {
    pub code: ErrorCode,
    pub retry_after_ms: u64,
}
