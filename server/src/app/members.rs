//! Members: invite, change role, remove, leave.

use super::{
    Actor, App, Error, Result,
    page::page_limit,
    rooms::{decode_cursor, encode_cursor, operation},
};
use crate::store::{Invitee, ManageMembers, MemberKey, Read, Removal};
use roost_schema::{ChangeRole, InviteMember, Member, MemberPage, OpId, PageQuery, RoomId, UserId};
use uuid::Uuid;

impl App {
    /// The members of a room, newest first.
    pub async fn list_members(
        &self,
        actor: &Actor,
        room: RoomId,
        page: PageQuery,
    ) -> Result<MemberPage> {
        let room = self.enter_room(actor, room, Read).await?;
        let limit = page_limit(&page)?;
        let after = page.cursor.as_deref().map(parse_cursor).transpose()?;
        // One more than the limit is read, to know whether there is a next page.
        let members = &self.store.members;
        let found = members.list(room.acting(), after, limit as u64 + 1);
        let mut items = found.await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| has_more).map(cursor_after);
        Ok(MemberPage { items, next })
    }

    pub async fn invite_member(
        &self,
        actor: &Actor,
        room: RoomId,
        input: InviteMember,
    ) -> Result<Member> {
        let invitee = parse_invitee(&input)?;
        let request = (room, &input.email, input.user_id, input.role);
        let operation = operation(actor, input.op_id, "invite_member", &request);
        if let Some(done) = self.repeat(actor, room, operation.as_ref()).await? {
            return Ok(done);
        }
        let access = self.enter_shared_room(actor, room, ManageMembers);
        let acting = access.await?.acting();
        let members = &self.store.members;
        let member = members.invite(acting, operation.as_ref(), &invitee, input.role);
        let member = member.await?;
        self.acknowledge(actor, room, 1).await?;
        Ok(member)
    }

    pub async fn change_role(
        &self,
        actor: &Actor,
        room: RoomId,
        member: UserId,
        input: ChangeRole,
    ) -> Result<Member> {
        let request = (room, member, input.role);
        let operation = operation(actor, input.op_id, "change_role", &request);
        if let Some(done) = self.repeat(actor, room, operation.as_ref()).await? {
            return Ok(done);
        }
        let access = self.enter_shared_room(actor, room, ManageMembers);
        let acting = access.await?.acting();
        let members = &self.store.members;
        let changed = members.change_role(acting, operation.as_ref(), member, input.role);
        let changed = changed.await?;
        self.acknowledge(actor, room, 1).await?;
        Ok(changed)
    }

    /// Removes a member; oneself: leaves the room, which every member may.
    pub async fn remove_member(
        &self,
        actor: &Actor,
        room: RoomId,
        member: UserId,
        op_id: Option<OpId>,
    ) -> Result<()> {
        let operation = operation(actor, op_id, "remove_member", &(room, member));
        if let Some(done) = self.repeat(actor, room, operation.as_ref()).await? {
            return Ok(done);
        }
        let access = self.enter_shared_room(actor, room, Removal { member });
        let acting = access.await?.acting();
        let members = &self.store.members;
        members.remove(acting, operation.as_ref()).await?;
        self.acknowledge(actor, room, 1).await
    }
}

fn parse_invitee(input: &InviteMember) -> Result<Invitee> {
    match (&input.email, input.user_id) {
        (Some(email), None) => {
            email
                .parse()
                .map(Invitee::Address)
                .map_err(|problem: roost_schema::Invalid| Error::Invalid {
                    field: "email",
                    problem: problem.0,
                })
        }
        (None, Some(user)) => Ok(Invitee::Person(user)),
        _ => Err(Error::Invalid {
            field: "email",
            problem: "or userId: exactly one of the two is given",
        }),
    }
}

const JOINED_BYTES: usize = size_of::<i64>();
const KEY_BYTES: usize = JOINED_BYTES + size_of::<uuid::Bytes>();

fn cursor_after(member: &Member) -> String {
    let mut key = member.joined_at.timestamp_micros().to_be_bytes().to_vec();
    key.extend_from_slice(member.user_id.as_uuid().as_bytes());
    encode_cursor(&key)
}

fn parse_cursor(cursor: &str) -> Result<MemberKey> {
    let key: [u8; KEY_BYTES] = decode_cursor(cursor)?;
    let (mut joined, mut user) = ([0; JOINED_BYTES], uuid::Bytes::default());
    joined.copy_from_slice(&key[..JOINED_BYTES]);
    user.copy_from_slice(&key[JOINED_BYTES..]);
    Ok(MemberKey {
        joined_us: i64::from_be_bytes(joined),
        user_id: UserId::from_uuid(Uuid::from_bytes(user)),
    })
}
