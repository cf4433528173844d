//! Permissions: what an actor may do in a room. No other file decides one. What takes the proof of
//! one is reached by `journal.rs` and `live.rs`.

mod journal;
mod live;

pub(super) use journal::OwnRooms;

use super::{
    Api, App, Result,
    passwords::{Asking, Use},
};
use crate::{
    live::{Refusal, RoomView},
    store::{ActingMember, ManageMembers, Place, Read, Removal, RoomEdit},
};
use chrono::{DateTime, Utc};
use roost_schema::{ErrorCode, Role, RoomId, SessionId, UserId};
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv6 /64 counts as one client, because a client can take any address in its own.
const IPV6_PREFIX_BITS: u32 = 64;
/// The networks by which exchanges of a refresh token are compared: what a household or an office has at its provider,
/// so that another address of the same one is no other place.
const PLACE_IPV4_BITS: u32 = 24;
const PLACE_IPV6_BITS: u32 = 48;

/// The signed-in person behind a request, the session they act through, and the transport it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    pub user_id: UserId,
    pub session_id: SessionId,
    /// When the access token expires that proved their identity.
    pub expires_at: DateTime<Utc>,
    pub api: Api,
}

/// The origin of a request that shows a password, or that has no account.
#[derive(Clone, Debug)]
pub struct Origin {
    pub address: IpAddr,
    pub user_agent: Option<String>,
}

impl Origin {
    /// Asks the password queue for a hash. `account`: the person, if they are signed in already.
    pub(super) fn asking(&self, purpose: Use, account: Option<UserId>) -> Asking {
        Asking {
            purpose,
            network: network(self.address),
            account,
        }
    }

    /// From where a refresh token is exchanged.
    pub(super) fn place(&self) -> Place {
        let agent = self.user_agent.as_deref().unwrap_or_default();
        Place {
            network: prefix(self.address, PLACE_IPV4_BITS, PLACE_IPV6_BITS).to_string(),
            agent: Sha256::digest(agent).into(),
        }
    }
}

/// The part of an address that counts as one client.
pub fn network(address: IpAddr) -> IpAddr {
    prefix(address, u32::BITS, IPV6_PREFIX_BITS)
}

/// The first address of a network. The numbers of bits are above 0.
fn prefix(address: IpAddr, ipv4_bits: u32, ipv6_bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX << (u32::BITS - ipv4_bits);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - ipv6_bits);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// A permission in a room, which a role allows or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See the room, its members, items and events.
    Read,
    /// Write items, and change one's own and those of shared kinds.
    WriteItems,
    /// Delete other people's items.
    Moderate,
    /// Give the room another title.
    Rename,
    /// Put the room into the archive and take it out.
    Archive,
    /// Invite, remove, and change roles.
    ManageMembers,
}

impl Permission {
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::WriteItems,
        Self::Moderate,
        Self::Rename,
        Self::Archive,
        Self::ManageMembers,
    ];
}

/// The whole permission table.
pub const fn allows(role: Role, permission: Permission) -> bool {
    match permission {
        Permission::Read => true,
        Permission::WriteItems => !matches!(role, Role::Viewer),
        Permission::Rename => matches!(role, Role::Owner | Role::Editor),
        Permission::Moderate | Permission::Archive | Permission::ManageMembers => {
            matches!(role, Role::Owner)
        }
    }
}

/// A right that is checked, by the permissions that it takes.
pub(super) trait Right {
    /// Whether an actor of this role has it.
    fn is_allowed(&self, actor: UserId, role: Role) -> bool;
}

impl Right for Read {
    fn is_allowed(&self, _: UserId, role: Role) -> bool {
        allows(role, Permission::Read)
    }
}

impl Right for ManageMembers {
    fn is_allowed(&self, _: UserId, role: Role) -> bool {
        allows(role, Permission::ManageMembers)
    }
}

/// Every member may leave.
impl Right for Removal {
    fn is_allowed(&self, actor: UserId, role: Role) -> bool {
        let is_leaving = self.member == actor;
        allows(role, Permission::Read) && (is_leaving || allows(role, Permission::ManageMembers))
    }
}

/// An empty change is a read.
impl Right for RoomEdit {
    fn is_allowed(&self, _: UserId, role: Role) -> bool {
        allows(role, Permission::Read)
            && (self.title.is_none() || allows(role, Permission::Rename))
            && (self.archived.is_none() || allows(role, Permission::Archive))
    }
}

/// The right to write an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemRight {
    /// To write a new one, or to change one that the actor may change.
    Write,
    /// To delete one of another author.
    Moderate,
}

impl Right for ItemRight {
    fn is_allowed(&self, _: UserId, role: Role) -> bool {
        match self {
            Self::Write => allows(role, Permission::WriteItems),
            Self::Moderate => allows(role, Permission::Moderate),
        }
    }
}

/// Proof that an actor has a right in a room. Only this module makes one, after its check, so what asks for it cannot be called
/// unchecked, nor with the proof of another right.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomAccess<R> {
    room_id: RoomId,
    user_id: UserId,
    role: Role,
    right: R,
}

impl<R> RoomAccess<R> {
    pub(super) const fn user_id(&self) -> UserId {
        self.user_id
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// The same for the relational store, which checks the role again under the lock of the room's row.
    pub(super) fn acting(self) -> ActingMember<R> {
        ActingMember::vouch_for(self.room_id, self.user_id, self.role, self.right)
    }
}

impl App {
    /// Checks a right. To a person who is no member, the room does not exist: the answer is the same.
    pub(super) async fn enter_room<R: Right>(
        &self,
        actor: &Actor,
        room: RoomId,
        right: R,
    ) -> Result<RoomAccess<R>> {
        let room = self.live.room(room);
        let mut role = permitted_role(&*room.view().await?, actor, &right);
        if role.is_err() {
            // Another instance may have made them a member a moment ago: only the view at the head may refuse.
            room.refresh().await?;
            role = permitted_role(&*room.view().await?, actor, &right);
        }
        Ok(RoomAccess {
            room_id: room.id(),
            user_id: actor.user_id,
            role: role?,
            right,
        })
    }
}

/// Checks a right by a view. The mailbox's judges call it with the view at a head.
fn permit<R: Right>(room: &RoomView, actor: &Actor, right: R) -> Result<RoomAccess<R>, Refusal> {
    let role = permitted_role(room, actor, &right)?;
    Ok(RoomAccess {
        room_id: room.id(),
        user_id: actor.user_id,
        role,
        right,
    })
}

/// The role of an actor who has the right.
fn permitted_role(room: &RoomView, actor: &Actor, right: &impl Right) -> Result<Role, Refusal> {
    let role = room.role_of(actor.user_id).ok_or(NO_SUCH_ROOM)?;
    if !right.is_allowed(actor.user_id, role) {
        return Err(FORBIDDEN);
    }
    Ok(role)
}

/// Proof that an actor may write in a room as of a head. Only this module makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    user_id: UserId,
    at: DateTime<Utc>,
}

impl Writing {
    pub(super) const fn user_id(&self) -> UserId {
        self.user_id
    }

    /// When the write was asked for.
    pub(super) const fn at(&self) -> DateTime<Utc> {
        self.at
    }
}

/// As [`permit`], for a write of an item: an archived room refuses it.
fn permit_writing(
    room: &RoomView,
    actor: &Actor,
    right: ItemRight,
    at: DateTime<Utc>,
) -> Result<Writing, Refusal> {
    permitted_role(room, actor, &right)?;
    if room.is_archived() {
        return Err(ARCHIVED);
    }
    Ok(Writing {
        user_id: actor.user_id,
        at,
    })
}

pub(super) const NO_SUCH_ROOM: Refusal = Refusal {
    code: ErrorCode::NotFound,
    sentence: "there is no such room, or not for you",
};

const ARCHIVED: Refusal = Refusal {
    code: ErrorCode::Archived,
    sentence: "the room is archived",
};

const FORBIDDEN: Refusal = Refusal {
    code: ErrorCode::Forbidden,
    sentence: "your role does not allow this here",
};

#[cfg(test)]
mod tests;
