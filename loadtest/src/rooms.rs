//! The rooms of a run, with their members.

use crate::people::{Person, repeat};
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use roost_schema::{InviteMember, OpId, OpenConversation, Role, RoomId};
use uuid::Uuid;

/// Others with whom a room can be opened at once; more are invited.
const OTHERS_MAX: usize = 100;
/// Requests under way at a time.
const PARALLEL: usize = 16;

/// A room, and who is in it: their places in the list of people.
#[derive(Clone, Debug)]
pub struct Room {
    pub id: RoomId,
    pub members: Vec<usize>,
}

/// Opens a room for each list of members; the first of a list is its owner.
pub async fn open(people: &[Person], memberships: Vec<Vec<usize>>) -> Result<Vec<Room>> {
    let rooms = stream::iter(memberships)
        .map(async |members| {
            let id = open_room(people, &members).await?;
            anyhow::Ok(Room { id, members })
        })
        .buffered(PARALLEL);
    rooms.try_collect().await
}

async fn open_room(people: &[Person], members: &[usize]) -> Result<RoomId> {
    let (owner, others) = members.split_first().context("a room without members")?;
    let Some(owner) = &people[*owner].client else {
        return Ok(Uuid::now_v7().to_string().parse()?);
    };
    let others: Vec<_> = others.iter().map(|other| people[*other].id).collect();
    let (first, rest) = others.split_at(others.len().min(OTHERS_MAX));
    let input = OpenConversation {
        user_ids: first.to_vec(),
        title: Some("Load".to_owned()),
        op_id: Some(op_id()?),
    };
    let room = repeat(async || owner.open_conversation(&input).await).await?;
    let invited = stream::iter(rest)
        .map(async |user| {
            let input = InviteMember {
                email: None,
                user_id: Some(*user),
                role: Role::Editor,
                op_id: Some(op_id()?),
            };
            repeat(async || owner.invite_member(room.id, &input).await).await
        })
        .buffered(PARALLEL);
    invited.try_for_each(async |_| Ok(())).await?;
    Ok(room.id)
}

pub fn op_id() -> Result<OpId> {
    Ok(Uuid::now_v7().to_string().parse()?)
}
