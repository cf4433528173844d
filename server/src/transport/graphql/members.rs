//! Members: invite, change role, remove, leave.

use super::{auth::caller, loaders, rooms::page_cost};
use crate::app::{Error, Result};
use async_graphql::{ComplexObject, Context, Object, SimpleObject};
use chrono::{DateTime, Utc};
use roost_schema::{
    ChangeRole, InviteMember, Member, MemberPage, OpId, PageQuery, Role, RoomId, User, UserId,
};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct MemberQuery;

#[Object]
impl MemberQuery {
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    async fn members(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<MemberPageNode> {
        let (app, actor) = caller(ctx).await?;
        let page = PageQuery { limit, cursor };
        let page = app.list_members(&actor, room, page).await?;
        loaders::expect(ctx, "user", page.items.iter().map(|item| item.user_id)).await;
        Ok(page.into())
    }
}

#[derive(Default)]
pub(super) struct MemberMutation;

#[Object]
impl MemberMutation {
    /// Makes a person a member: by exact e-mail address or by id.
    async fn invite_member(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        input: InviteMember,
    ) -> Result<MemberNode> {
        let (app, actor) = caller(ctx).await?;
        let member = app.invite_member(&actor, room, input).await?;
        Ok(member.into())
    }

    async fn change_role(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        user: UserId,
        input: ChangeRole,
    ) -> Result<MemberNode> {
        let (app, actor) = caller(ctx).await?;
        let member = app.change_role(&actor, room, user, input).await?;
        Ok(member.into())
    }

    /// Removes a member; oneself: leaves the room.
    async fn remove_member(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        user: UserId,
        op_id: Option<OpId>,
    ) -> Result<bool> {
        let (app, actor) = caller(ctx).await?;
        app.remove_member(&actor, room, user, op_id).await?;
        Ok(true)
    }
}

/// A person's membership of a room.
#[derive(SimpleObject)]
#[graphql(name = "Member", complex)]
pub(super) struct MemberNode {
    user_id: UserId,
    name: String,
    role: Role,
    joined_at: DateTime<Utc>,
}

#[ComplexObject]
impl MemberNode {
    /// Absent when the account is gone.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>, Arc<Error>> {
        loaders::person(ctx, self.user_id).await
    }
}

impl From<Member> for MemberNode {
    fn from(member: Member) -> Self {
        Self {
            user_id: member.user_id,
            name: member.name,
            role: member.role,
            joined_at: member.joined_at,
        }
    }
}

/// Some of a room's members.
#[derive(SimpleObject)]
#[graphql(name = "MemberPage")]
pub(super) struct MemberPageNode {
    items: Vec<MemberNode>,
    /// Give it back as `cursor` for the next page; absent on the last one.
    next: Option<String>,
}

impl From<MemberPage> for MemberPageNode {
    fn from(page: MemberPage) -> Self {
        Self {
            items: page.items.into_iter().map(MemberNode::from).collect(),
            next: page.next,
        }
    }
}
