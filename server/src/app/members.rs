//! Members: invite, change role, remove, leave.

use super::{Actor, App, Result};
use roost_schema::{ChangeRole, InviteMember, Member, MemberPage, OpId, PageQuery, RoomId, UserId};

impl App {
    pub async fn list_members(
        &self,
        actor: &Actor,
        room: RoomId,
        page: PageQuery,
    ) -> Result<MemberPage> {
        todo!()
    }

    pub async fn invite_member(
        &self,
        actor: &Actor,
        room: RoomId,
        input: InviteMember,
    ) -> Result<Member> {
        todo!()
    }

    pub async fn change_role(
        &self,
        actor: &Actor,
        room: RoomId,
        member: UserId,
        input: ChangeRole,
    ) -> Result<Member> {
        todo!()
    }

    /// Removes a member; oneself: leaves the room.
    pub async fn remove_member(
        &self,
        actor: &Actor,
        room: RoomId,
        member: UserId,
        op_id: Option<OpId>,
    ) -> Result<()> {
        todo!()
    }
}
