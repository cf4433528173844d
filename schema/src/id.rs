//! Typed identifiers: a `RoomId` can never be passed where a `UserId` is meant.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = Uuid))]
        pub struct $name(Uuid);

        impl $name {
            /// Mints a `UUIDv7`, which sorts by the time it was made.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        #[cfg(feature = "graphql")]
        async_graphql::scalar!($name);
    };
}

id!(/** Identifies a room: a board, a conversation, or a person's own room. */ RoomId);
id!(/** Identifies a person. */ UserId);
id!(/** Identifies a session: one device that signed in. */ SessionId);
id!(/** Identifies one run of one instance: a restart is another one. */ InstanceId);
id!(/** Identifies an item within its room. A client may choose one, as a `UUIDv7`. */ ItemId);

impl RoomId {
    /// The person's own room, on which their login, session and notification events travel.
    pub fn of_user(user: UserId) -> Self {
        Self(derived(user.0))
    }
}

impl ItemId {
    /// The item that holds a person's membership of a room.
    pub fn of_member(user: UserId) -> Self {
        Self(derived(user.0))
    }

    /// The item that holds a room's own title and state.
    pub fn of_room(room: RoomId) -> Self {
        Self(derived(room.0))
    }

    /// The item that holds a session, in its person's own room.
    pub fn of_session(session: SessionId) -> Self {
        Self(derived(session.0))
    }

    /// Whether a client may choose this id. Clients choose version 7 only, and ids derived from other ids are version
    /// 8, so the two never meet.
    pub fn is_choosable(&self) -> bool {
        self.0.get_version_num() == 7
    }
}

/// The same id as version 8 (RFC 9562 §5.8): no client-chosen version 7 id can equal it.
fn derived(uuid: Uuid) -> Uuid {
    let mut bytes = uuid.into_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_stable_and_never_choosable() {
        let user = UserId::generate();
        assert_eq!(RoomId::of_user(user), RoomId::of_user(user));
        assert!(!ItemId::of_member(user).is_choosable());
        assert!(ItemId::generate().is_choosable());
    }
}
