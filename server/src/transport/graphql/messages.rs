//! Chat messages: send, edit, delete, read.

use super::{auth::caller, loaders, rooms::page_cost};
use crate::app::{Error, Result};
use async_graphql::{ComplexObject, Context, Object, SimpleObject};
use chrono::{DateTime, Utc};
use roost_schema::{
    DeleteMessage, Direction, EditMessage, ItemId, Message, MessagePage, PageQuery, Position,
    RoomId, SendMessage, Seq, User, UserId,
};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct MessageQuery;

#[Object]
impl MessageQuery {
    /// A page of the room's messages: from the newest to the oldest, or the other way.
    #[graphql(complexity = "page_cost(limit, child_complexity)")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        direction: Option<Direction>,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<MessagePageNode> {
        let (app, actor) = caller(ctx).await?;
        let page = PageQuery { limit, cursor };
        let page = app
            .list_messages(&actor, room, direction.unwrap_or_default(), page)
            .await?;
        loaders::expect(ctx, "author", page.items.iter().map(|item| item.author_id)).await;
        Ok(page.into())
    }

    async fn message(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        message: ItemId,
    ) -> Result<MessageNode> {
        let (app, actor) = caller(ctx).await?;
        let message = app.read_message(&actor, room, message).await?;
        Ok(message.into())
    }
}

#[derive(Default)]
pub(super) struct MessageMutation;

#[Object]
impl MessageMutation {
    /// Posts a message. Repeated with the same `opId`, it answers the message of the first time.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        input: SendMessage,
    ) -> Result<MessageNode> {
        let (app, actor) = caller(ctx).await?;
        let message = app.send_message(&actor, room, input).await?;
        Ok(message.into())
    }

    /// Gives one's own message another text.
    async fn edit_message(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        message: ItemId,
        input: EditMessage,
    ) -> Result<MessageNode> {
        let (app, actor) = caller(ctx).await?;
        let message = app.edit_message(&actor, room, message, input).await?;
        Ok(message.into())
    }

    /// Deletes one's own message, or anyone's as an owner.
    async fn delete_message(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        message: ItemId,
        input: Option<DeleteMessage>,
    ) -> Result<bool> {
        let (app, actor) = caller(ctx).await?;
        app.delete_message(&actor, room, message, input.unwrap_or_default())
            .await?;
        Ok(true)
    }
}

/// A chat message as every member sees it.
#[derive(SimpleObject)]
#[graphql(name = "Message", complex)]
pub(super) struct MessageNode {
    id: ItemId,
    room_id: RoomId,
    /// The version: the seq of the message's newest entry. Give it as `ifMatch` to change it.
    seq: Seq,
    author_id: UserId,
    text: String,
    created_at: DateTime<Utc>,
    /// When it was last edited; absent if never.
    edited_at: Option<DateTime<Utc>>,
}

#[ComplexObject]
impl MessageNode {
    /// Absent when the account is gone.
    async fn author(&self, ctx: &Context<'_>) -> Result<Option<User>, Arc<Error>> {
        loaders::person(ctx, self.author_id).await
    }
}

impl From<Message> for MessageNode {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            room_id: message.room_id,
            seq: message.seq,
            author_id: message.author_id,
            text: message.text,
            created_at: message.created_at,
            edited_at: message.edited_at,
        }
    }
}

/// A page of a room's messages.
#[derive(SimpleObject)]
#[graphql(name = "MessagePage")]
pub(super) struct MessagePageNode {
    items: Vec<MessageNode>,
    /// Give it back as `cursor` for the next page; absent on the last one.
    next: Option<String>,
    /// The room's position before the first page was read: follow the room after it to miss nothing.
    position: Position,
}

impl From<MessagePage> for MessagePageNode {
    fn from(page: MessagePage) -> Self {
        Self {
            items: page.items.into_iter().map(MessageNode::from).collect(),
            next: page.next,
            position: page.position,
        }
    }
}
