//! Chat messages.

use crate::{
    ItemId, OpId, RoomId, Seq, UserId,
    kind::{kept, written},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A chat message as every member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    pub id: ItemId,
    pub room_id: RoomId,
    /// The version: the seq of the message's newest entry, and its `ETag`.
    pub seq: Seq,
    pub author_id: UserId,
    pub text: String,
    pub created_at: DateTime<Utc>,
    /// When it was last edited; absent if never.
    pub edited_at: Option<DateTime<Utc>>,
}

/// Posts a message. Repeated with the same `opId`, it answers the message of the first time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SendMessage {
    /// 1 byte to 32 KiB of UTF-8, at least one visible character.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::MessageText))]
    pub text: String,
    /// A `UUIDv7` of the client's choice; absent: the server makes one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Uuid, pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"))]
    pub id: Option<ItemId>,
    /// On REST, the `Idempotency-Key` header.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub op_id: Option<OpId>,
}

/// Gives a message another text.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
pub struct EditMessage {
    pub text: String,
    /// On REST, the `Idempotency-Key` header.
    pub op_id: Option<OpId>,
    /// Only when the message still has this version. On REST, the `If-Match` header.
    pub if_match: Option<Seq>,
}

/// Gives a message another text.
// The body on REST, where the version is a header. Errors and the OpenAPI document call it `EditMessage`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename = "EditMessage", rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = EditMessage))]
pub struct EditMessageBody {
    #[cfg_attr(feature = "openapi", schema(value_type = crate::MessageText))]
    pub text: String,
    /// On REST, the `Idempotency-Key` header.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub op_id: Option<OpId>,
}

/// Deletes a message.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
pub struct DeleteMessage {
    pub op_id: Option<OpId>,
    pub if_match: Option<Seq>,
}

/// `message:send` on Socket.IO: a message and the room it goes to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendMessageToRoom {
    pub room: RoomId,
    pub text: String,
    pub id: Option<ItemId>,
    pub op_id: Option<OpId>,
}

kept! {
    /// What is kept of a message.
    MessageState {
        text: String [value_type = crate::MessageText],
        /// When it was last edited; absent if never.
        #[serde(skip_serializing_if = "Option::is_none")]
        edited_at: Option<DateTime<Utc>> [value_type = Option<DateTime<Utc>>],
    }
}

written! {
    /// What is written of a message.
    MessageDraft,
    /// What is changed of a message.
    MessagePatch
    {
        text: String [value_type = crate::MessageText],
    }
    {}
}

/// A page of a room's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessagePage {
    pub items: Vec<Message>,
    /// Give it back as `cursor` for the next page; absent on the last one.
    pub next: Option<String>,
    /// The room's position before the first page was read: join the room after it to miss nothing.
    pub position: crate::Position,
}

/// Which way to read a room's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Direction {
    /// From the newest to the oldest.
    #[default]
    Older,
    /// From the oldest to the newest.
    Newer,
}
