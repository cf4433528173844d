//! People, and how they sign in.

use crate::{OpId, RoomId, Secret, Session, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A person as others see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    pub id: UserId,
    pub name: String,
}

/// A person as they see themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Me {
    pub id: UserId,
    pub email: String,
    pub name: String,
    /// The person's own room, on which login and session events travel.
    pub room_id: RoomId,
    pub created_at: DateTime<Utc>,
}

/// Asks for an account. With an `opId` that was used before, the password is checked and the
/// person is signed in anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Register {
    #[cfg_attr(feature = "openapi", schema(value_type = crate::Email))]
    pub email: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 8, max_length = 128))]
    pub password: Secret,
    #[cfg_attr(feature = "openapi", schema(value_type = crate::Name))]
    pub name: String,
    pub op_id: Option<OpId>,
}

/// Asks for a session: e-mail address and password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    #[cfg_attr(feature = "openapi", schema(max_length = 254))]
    pub email: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, max_length = 128))]
    pub password: Secret,
}

/// Exchanges a refresh token for a new pair of tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refresh {
    pub refresh_token: Secret,
}

/// Changes the password; every other session ends, and the refresh token of this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePassword {
    #[cfg_attr(feature = "openapi", schema(value_type = String, max_length = 128))]
    pub current_password: Secret,
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 8, max_length = 128))]
    pub new_password: Secret,
}

/// A session and the tokens that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedIn {
    pub user: Me,
    pub session: Session,
    /// A JWT for the `Authorization: Bearer` header and the Socket.IO handshake.
    pub access_token: Secret,
    pub access_expires_at: DateTime<Utc>,
    /// For the next `refresh`, which answers another one.
    pub refresh_token: Secret,
}
