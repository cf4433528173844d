//! Chat messages: send, edit, delete, read.

use super::{
    auth::caller,
    items::{ItemFields, MessageNode},
    loaders,
    rooms::page_cost,
};
use crate::app::Result;
use async_graphql::{Context, Object, SimpleObject};
use roost_schema::{
    DeleteMessage, Direction, EditMessage, ItemId, Kind, Message, MessagePage, MessageState,
    PageQuery, Position, Rest, RoomId, SendMessage,
};

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

impl From<Message> for MessageNode {
    fn from(message: Message) -> Self {
        Self {
            item: ItemFields {
                id: message.id,
                room_id: message.room_id,
                seq: message.seq,
                kind: Kind::Message,
                author: Some(message.author_id),
            },
            state: MessageState {
                author_id: message.author_id,
                text: message.text,
                created_at: message.created_at,
                edited_at: message.edited_at,
                rest: Rest::default(),
            },
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
