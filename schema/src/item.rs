//! Items: everything durable in a room is one, of some kind.

use crate::{Failure, ItemId, Kind, OpId, Position, RoomId, Seq, UserId, word::words};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, value::RawValue};
use std::sync::Arc;

words! {
    /// What an entry does to its item. An op that this release does not know changes no state.
    Op {
        /// Gives it a new full state.
        Put = "put",
        /// Ends it.
        Delete = "delete",
    }
}

impl Op {
    /// Whether an entry with this op gives its item a state.
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

    /// Reads JSON text from a store.
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
    /// `message`, `todo`, `member`, `room`, `session`, or one of a later release: pass over what you do not know.
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

/// An item as its newest entry says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Item {
    pub id: ItemId,
    pub room_id: RoomId,
    /// The version: the seq of the item's newest entry, and its `ETag`.
    pub seq: Seq,
    /// The seq of its first entry, in the order of which items are listed.
    pub born: Seq,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: Kind,
    /// Its full state, as its kind is kept.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::AnyState))]
    pub body: Body,
    /// Who made its newest entry, and when.
    pub actor: UserId,
    pub at: DateTime<Utc>,
}

/// A page of a room's items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ItemPage {
    pub items: Vec<Item>,
    /// Give it back as `cursor` for the next page; absent on the last one.
    pub next: Option<String>,
    /// The room's position before the first page was read: join the room after it to miss nothing.
    pub position: Position,
}

/// A page of items of many rooms, by room and then in the order they were born.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundItems {
    pub items: Vec<Item>,
    /// Give it back as `cursor` for the next page; absent on the last one. A page may be empty and have a next.
    pub next: Option<String>,
    /// Rooms that were left out, because what is stored of them is damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrupt_rooms: Vec<RoomId>,
}

/// A new item, as REST takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewItem {
    pub kind: String,
    /// Absent: one of the server's making.
    pub id: Option<ItemId>,
    #[serde(deserialize_with = "object")]
    pub body: Value,
}

/// What is written of an item whose id is known, as REST takes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ItemBody {
    pub kind: String,
    #[serde(deserialize_with = "object")]
    pub body: Value,
}

/// Several changes of items, as REST takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ItemOps {
    pub ops: Vec<ItemOp>,
}

/// Asks for an item to be created, or changed when it exists. `item:put` on Socket.IO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutItem {
    pub room: RoomId,
    pub kind: String,
    /// Absent: a new item with an id of the server's making.
    pub item: Option<ItemId>,
    #[serde(deserialize_with = "object")]
    pub body: Value,
    pub op_id: Option<OpId>,
    /// Only when the item's newest entry has this seq.
    pub if_match: Option<Seq>,
}

/// Asks for some fields of an item to be changed. `item:patch` on Socket.IO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchItem {
    pub room: RoomId,
    pub kind: String,
    pub item: ItemId,
    /// What is absent stays, what is `null` goes.
    #[serde(deserialize_with = "object")]
    pub body: Value,
    pub op_id: Option<OpId>,
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

/// Asks for a deleted item to be there again, in its place, as if it were written now. `item:restore` on Socket.IO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreItem {
    pub room: RoomId,
    pub kind: String,
    pub item: ItemId,
    /// As it was served before the item was deleted.
    #[serde(deserialize_with = "object")]
    pub body: Value,
    pub op_id: Option<OpId>,
}

/// Asks for up to 200 changes of items of one room. `item:batch` on Socket.IO.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchItems {
    pub room: RoomId,
    /// Of more than one change, the one with number n, counted from 0, has the operation id `<opId>:<n>`, so that it is at
    /// most 60 characters. One alone has it itself.
    pub op_id: Option<OpId>,
    pub ops: Vec<ItemOp>,
}

/// How many changes a batch may have.
pub const BATCH_OPS_MAX: usize = 200;

/// One change of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(
    tag = "op",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum ItemOp {
    Put {
        kind: String,
        item: Option<ItemId>,
        #[serde(deserialize_with = "object")]
        body: Value,
        if_match: Option<Seq>,
    },
    Patch {
        kind: String,
        item: ItemId,
        #[serde(deserialize_with = "object")]
        body: Value,
        if_match: Option<Seq>,
    },
    Delete {
        item: ItemId,
        if_match: Option<Seq>,
    },
    Restore {
        kind: String,
        item: ItemId,
        #[serde(deserialize_with = "object")]
        body: Value,
    },
}

/// Reads the draft or patch of an item, which is an object for every kind.
fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Map::deserialize(deserializer).map(Value::Object)
}

/// What became of each change of a batch, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchOutcome {
    pub outcomes: Vec<ItemOutcome>,
}

/// What became of one change: where it is, or why it was not made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ItemOutcome {
    /// The item that was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemId>,
    /// The seq of the change, the item's version after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// It was not made, and the others stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}
