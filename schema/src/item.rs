//! Items: everything durable in a room is one, of some kind.

use crate::{ItemId, OpId, RoomId, Seq, UserId, word::words};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

words! {
    /// What an item is. Only `message` is written by clients; a kind that this release does not know is
    /// carried like any other, and refused only when a client writes it.
    Kind {
        /// The room's own title and state; written by the server.
        Room = "room",
        /// A person's membership; written by the server.
        Member = "member",
        /// A session, in its person's own room; written by the server.
        Session = "session",
        /// A chat message.
        Message = "message",
    }
}

words! {
    /// What an entry does to its item. One that this release does not know changes no state.
    Op {
        /// Gives it a new full state.
        Put = "put",
        /// Ends it.
        Delete = "delete",
    }
}

impl Op {
    /// Whether an entry with it says how its item is from then on.
    pub const fn sets_state(&self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// An item's full state as JSON text, kept byte for byte. `null` for a deleted item.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
pub struct Body(pub Arc<RawValue>);

impl Body {
    /// The state of a deleted item.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Encodes a typed state.
    pub fn encode(state: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(state).map(|raw| Self(raw.into()))
    }

    /// Reads JSON text that was kept.
    pub fn from_text(text: String) -> serde_json::Result<Self> {
        RawValue::from_string(text).map(|raw| Self(raw.into()))
    }

    /// Decodes into a typed state.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.0.get())
    }

    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Body {}

#[cfg(feature = "graphql")]
#[async_graphql::Scalar(name = "Json")]
impl async_graphql::ScalarType for Body {
    fn parse(value: async_graphql::Value) -> async_graphql::InputValueResult<Self> {
        Ok(Self::encode(&value.into_json()?)?)
    }

    fn to_value(&self) -> async_graphql::Value {
        self.decode().unwrap_or_default()
    }
}

/// One change of one item, as every client of the room sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoomEvent {
    pub seq: Seq,
    pub item: ItemId,
    /// `message`, `member`, `room`, `session`, or one of a later release: pass over what you do not know.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: Kind,
    /// `put`, `delete`, or one of a later release, which changes nothing you know of the item.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub op: Op,
    /// The item's full state after the change; `null` when it was deleted.
    pub body: Body,
    /// Who made the change.
    pub actor: UserId,
    pub at: DateTime<Utc>,
}

/// Asks for an item to be created, or changed when it exists. `item:put` on Socket.IO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutItem {
    pub room: RoomId,
    pub kind: String,
    /// Absent: a new item with an id of the server's making.
    pub item: Option<ItemId>,
    pub body: serde_json::Value,
    pub op_id: Option<OpId>,
    /// Only when the item's newest entry has this seq.
    pub if_match: Option<Seq>,
}

/// Asks for an item to be deleted. `item:delete` on Socket.IO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteItem {
    pub room: RoomId,
    pub item: ItemId,
    pub op_id: Option<OpId>,
    pub if_match: Option<Seq>,
}
