//! The member who acts on a room, and the right that they act by.

use roost_schema::{Role, RoomId, UserId};

/// The right to see a room and its members, and to make an empty change.
#[derive(Clone, Copy, Debug)]
pub struct Read;

/// The right to invite members and to change their roles.
#[derive(Clone, Copy, Debug)]
pub struct ManageMembers;

/// A member whom the use cases have checked: with this role they have this right. A method of the store names the right that
/// it needs, so it cannot be called with another. A change is made only if the member still has the role under the lock of
/// the room's row.
#[derive(Clone, Copy, Debug)]
pub struct ActingMember<Right> {
    room_id: RoomId,
    user_id: UserId,
    role: Role,
    right: Right,
}

impl<Right> ActingMember<Right> {
    /// The store cannot check the right. Of the use cases only `app/access` calls this, with the role that it checked.
    pub const fn vouch_for(room_id: RoomId, user_id: UserId, role: Role, right: Right) -> Self {
        Self {
            room_id,
            user_id,
            role,
            right,
        }
    }

    pub(super) const fn room_id(&self) -> RoomId {
        self.room_id
    }

    pub(super) const fn user_id(&self) -> UserId {
        self.user_id
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    pub(super) const fn right(&self) -> &Right {
        &self.right
    }
}
