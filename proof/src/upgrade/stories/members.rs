//! Who belongs to a room, and in which role.

use super::{Party, Places, Times, everywhere, is_refused, new_op_id, retry_unavailable};
use crate::promises::people::placed;
use anyhow::Result;
use roost_client::{Client, Error};
use roost_schema::{ChangeRole, ErrorCode, InviteMember, Message, Role, RoomId, SendMessage};

impl Party {
    /// The guest is invited as a viewer and becomes an editor, a viewer and an editor again.
    pub(super) async fn run_members(&self, places: &Places, times: &mut Times) -> Result<()> {
        let owner = placed(&self.owner, places.first())?;
        let (guest, room) = (self.guest.user_id(), self.room);
        let invitation = InviteMember {
            email: None,
            user_id: Some(guest),
            role: Role::Viewer,
            op_id: Some(new_op_id()?),
        };
        retry_unavailable(async || owner.invite_member(room, &invitation).await).await?;
        let is_in = async |guest: &Client| match guest.read_room(room).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(false),
            Err(error) => Err(error),
        };
        let took = everywhere(&self.guest, places, is_in).await?;
        times.let_in.extend(took);
        self.become_role(&owner, Role::Editor, places, times)
            .await?;
        self.become_role(&owner, Role::Viewer, places, times)
            .await?;
        self.become_role(&owner, Role::Editor, places, times).await
    }

    async fn become_role(
        &self,
        owner: &Client,
        role: Role,
        places: &Places,
        times: &mut Times,
    ) -> Result<()> {
        let op_id = Some(new_op_id()?);
        let change = ChangeRole { role, op_id };
        let (room, guest) = (self.room, self.guest.user_id());
        retry_unavailable(async || owner.change_role(room, guest, &change).await).await?;
        let may_write = role == Role::Editor;
        let is_so = async |guest: &Client| {
            let is_refused = is_refused(write(guest, room).await, ErrorCode::Forbidden)?;
            Ok(is_refused != may_write)
        };
        let took = everywhere(&self.guest, places, is_so).await?;
        let figure = if may_write {
            &mut times.let_in
        } else {
            &mut times.role
        };
        figure.extend(took);
        Ok(())
    }

    pub(super) async fn run_removal(&self, places: &Places, times: &mut Times) -> Result<()> {
        let owner = placed(&self.owner, places.first())?;
        let (room, guest, op_id) = (self.room, self.guest.user_id(), new_op_id()?);
        retry_unavailable(async || owner.remove_member(room, guest, Some(&op_id)).await).await?;
        let is_out =
            async |guest: &Client| is_refused(guest.read_room(room).await, ErrorCode::NotFound);
        let took = everywhere(&self.guest, places, is_out).await?;
        times.removed.extend(took);
        let is_out =
            async |guest: &Client| is_refused(write(guest, room).await, ErrorCode::NotFound);
        everywhere(&self.guest, places, is_out).await.map(drop)
    }
}

async fn write(guest: &Client, room: RoomId) -> Result<Message, Error> {
    let input = SendMessage {
        text: "a guest's".to_owned(),
        id: None,
        op_id: None,
    };
    guest.send_message(room, &input).await
}
