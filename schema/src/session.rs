//! Sessions: one for each device that signed in.

use crate::SessionId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One device of the person who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    pub id: SessionId,
    /// As its person named it; until then, as its program calls itself.
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    /// When a refresh token of it that had been exchanged was exchanged again from another network or by another
    /// program: an answer may have been lost on the way, or the token stolen.
    pub reused_elsewhere_at: Option<DateTime<Utc>>,
    /// Whether this is the session that asks.
    pub current: bool,
}

/// Gives a session a name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NameSession {
    #[cfg_attr(feature = "openapi", schema(value_type = crate::Name))]
    pub name: String,
}

/// The state of a `session` item in its person's own room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionState {
    pub session_id: SessionId,
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// As in [`Session`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_elsewhere_at: Option<DateTime<Utc>>,
}
