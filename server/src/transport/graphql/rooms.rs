//! Rooms: boards and conversations, their title and archive.

use super::{auth::caller, loaders};
use crate::app::{Error, Result};
use async_graphql::{ComplexObject, Context, Object, SimpleObject};
use chrono::{DateTime, Utc};
use roost_schema::{
    ChangeRoom, CreateBoard, OpenConversation, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, PageQuery, Role,
    Room, RoomId, RoomPage, RoomType, User, UserId,
};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct RoomQuery;

#[Object]
impl RoomQuery {
    /// The rooms you are a member of, newest first; of some types only, if any are named.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    async fn rooms(
        &self,
        ctx: &Context<'_>,
        #[graphql(default)] types: Vec<RoomType>,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<RoomPageNode> {
        list_rooms(ctx, &types, PageQuery { limit, cursor }).await
    }

    /// Your boards, newest first.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    async fn boards(
        &self,
        ctx: &Context<'_>,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<RoomPageNode> {
        list_rooms(ctx, &[RoomType::Board], PageQuery { limit, cursor }).await
    }

    /// Your conversations, direct and group, newest first.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<RoomPageNode> {
        let types = [RoomType::Direct, RoomType::Group];
        list_rooms(ctx, &types, PageQuery { limit, cursor }).await
    }

    async fn room(&self, ctx: &Context<'_>, room: RoomId) -> Result<RoomNode> {
        let (app, actor) = caller(ctx).await?;
        app.read_room(&actor, room).await.map(RoomNode::from)
    }
}

#[derive(Default)]
pub(super) struct RoomMutation;

#[Object]
impl RoomMutation {
    /// Makes a board; its maker is the owner.
    async fn create_board(&self, ctx: &Context<'_>, input: CreateBoard) -> Result<RoomNode> {
        let (app, actor) = caller(ctx).await?;
        app.create_board(&actor, input).await.map(RoomNode::from)
    }

    /// Opens a conversation: with one other person and no title a direct one, else a group.
    async fn open_conversation(
        &self,
        ctx: &Context<'_>,
        input: OpenConversation,
    ) -> Result<RoomNode> {
        let (app, actor) = caller(ctx).await?;
        let room = app.open_conversation(&actor, input).await?;
        Ok(room.into())
    }

    /// Changes a room's title, or archives it, or takes it out of the archive.
    async fn change_room(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        input: ChangeRoom,
    ) -> Result<RoomNode> {
        let (app, actor) = caller(ctx).await?;
        let room = app.change_room(&actor, room, input).await?;
        Ok(room.into())
    }
}

async fn list_rooms(
    ctx: &Context<'_>,
    types: &[RoomType],
    page: PageQuery,
) -> Result<RoomPageNode> {
    let (app, actor) = caller(ctx).await?;
    let page = app.list_rooms(&actor, types, page).await?;
    loaders::expect(
        ctx,
        "createdBy",
        page.items.iter().map(|item| item.created_by),
    )
    .await;
    Ok(page.into())
}

/// What a page costs: its fields once for each item it may hold. A page of more is refused later, as
/// on REST.
pub(super) fn page_cost(limit: Option<u32>, of_one: usize) -> usize {
    let items = limit.unwrap_or(PAGE_ITEMS_DEFAULT).min(PAGE_ITEMS_MAX);
    (items as usize).saturating_mul(of_one).saturating_add(1)
}

/// A room as one of its members sees it.
#[derive(SimpleObject)]
#[graphql(name = "Room", complex)]
pub(super) struct RoomNode {
    id: RoomId,
    #[graphql(name = "type")]
    room_type: RoomType,
    /// Absent in a direct conversation.
    title: Option<String>,
    archived: bool,
    /// What you are here.
    role: Role,
    created_by_id: UserId,
    created_at: DateTime<Utc>,
}

#[ComplexObject]
impl RoomNode {
    /// Who made it; absent when the account is gone.
    async fn created_by(&self, ctx: &Context<'_>) -> Result<Option<User>, Arc<Error>> {
        loaders::person(ctx, self.created_by_id).await
    }
}

impl From<Room> for RoomNode {
    fn from(room: Room) -> Self {
        Self {
            id: room.id,
            room_type: room.room_type,
            title: room.title,
            archived: room.archived,
            role: room.role,
            created_by_id: room.created_by,
            created_at: room.created_at,
        }
    }
}

/// Some of a person's rooms.
#[derive(SimpleObject)]
#[graphql(name = "RoomPage")]
pub(super) struct RoomPageNode {
    items: Vec<RoomNode>,
    /// Give it back as `cursor` for the next page; absent on the last one.
    next: Option<String>,
}

impl From<RoomPage> for RoomPageNode {
    fn from(page: RoomPage) -> Self {
        Self {
            items: page.items.into_iter().map(RoomNode::from).collect(),
            next: page.next,
        }
    }
}
