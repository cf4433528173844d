//! Chat messages: send, edit, delete, read.

use super::{Actor, App, Result};
use roost_schema::{
    DeleteMessage, Direction, EditMessage, ItemId, Message, MessagePage, PageQuery, RoomId,
    SendMessage,
};
use std::future::Future;

impl App {
    /// Posts a message. The write takes its place in the room's queue before this returns; await the
    /// answer to know what became of it.
    pub fn send_message(
        &self,
        actor: &Actor,
        room: RoomId,
        input: SendMessage,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        async { todo!() }
    }

    /// Edits one's own message; queued like [`App::send_message`].
    pub fn edit_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
        input: EditMessage,
    ) -> impl Future<Output = Result<Message>> + Send + use<> {
        async { todo!() }
    }

    /// Deletes one's own message, or anyone's as an owner; queued like [`App::send_message`].
    pub fn delete_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
        input: DeleteMessage,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        async { todo!() }
    }

    pub async fn read_message(
        &self,
        actor: &Actor,
        room: RoomId,
        message: ItemId,
    ) -> Result<Message> {
        todo!()
    }

    /// A page of the room's history by birth, with the head that was read before the first page.
    pub async fn list_messages(
        &self,
        actor: &Actor,
        room: RoomId,
        direction: Direction,
        page: PageQuery,
    ) -> Result<MessagePage> {
        todo!()
    }
}
