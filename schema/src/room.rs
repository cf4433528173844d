//! Rooms: boards, conversations, and each person's own.

use crate::{OpId, Role, RoomId, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RoomType {
    Board,
    /// A conversation of exactly two people; the same two always get the same one.
    Direct,
    /// A conversation of any number of people.
    Group,
    /// A person's own room; never listed, never invited to.
    Personal,
}

impl RoomType {
    pub const ALL: [Self; 4] = [Self::Board, Self::Direct, Self::Group, Self::Personal];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Personal => "personal",
        }
    }
}

/// A room as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Room {
    pub id: RoomId,
    #[serde(rename = "type")]
    #[cfg_attr(feature = "graphql", graphql(name = "type"))]
    pub room_type: RoomType,
    /// Absent in a direct conversation.
    pub title: Option<String>,
    pub archived: bool,
    /// What the person who asks is here.
    pub role: Role,
    pub created_by: UserId,
    pub created_at: DateTime<Utc>,
}

/// Makes a board; its maker is the owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateBoard {
    #[cfg_attr(feature = "openapi", schema(value_type = crate::Title))]
    pub title: String,
    /// On REST, the `Idempotency-Key` header.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub op_id: Option<OpId>,
}

/// How many people a conversation may be opened with.
#[cfg(feature = "openapi")]
pub(crate) const OTHERS_MAX: usize = 100;

/// Opens a conversation: with one other person and no title a direct one, else a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
pub struct OpenConversation {
    /// The other people, at most 100.
    pub user_ids: Vec<UserId>,
    /// A group has a title; a direct conversation has none.
    pub title: Option<String>,
    pub op_id: Option<OpId>,
}

/// Changes a room's title, or archives it, or takes it out of the archive. Absent: unchanged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeRoom {
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::Title>))]
    pub title: Option<String>,
    pub archived: Option<bool>,
    /// On REST, the `Idempotency-Key` header.
    #[cfg_attr(feature = "openapi", schema(ignore))]
    pub op_id: Option<OpId>,
}

/// The state of a `room` item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomState {
    pub room_id: RoomId,
    #[serde(rename = "type")]
    pub room_type: RoomType,
    pub title: Option<String>,
    pub archived: bool,
}
