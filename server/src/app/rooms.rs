//! Rooms: boards and conversations, their title and archive.

use super::{Actor, App, Result};
use roost_schema::{
    ChangeRoom, CreateBoard, OpenConversation, PageQuery, Room, RoomId, RoomPage, RoomType,
};

impl App {
    pub async fn create_board(&self, actor: &Actor, input: CreateBoard) -> Result<Room> {
        todo!()
    }

    /// One other person and no title: the direct conversation of the two, made if need be.
    pub async fn open_conversation(&self, actor: &Actor, input: OpenConversation) -> Result<Room> {
        todo!()
    }

    /// The rooms the actor is a member of, newest first; of some types only, if any are named.
    pub async fn list_rooms(
        &self,
        actor: &Actor,
        types: &[RoomType],
        page: PageQuery,
    ) -> Result<RoomPage> {
        todo!()
    }

    pub async fn read_room(&self, actor: &Actor, room: RoomId) -> Result<Room> {
        todo!()
    }

    pub async fn change_room(
        &self,
        actor: &Actor,
        room: RoomId,
        input: ChangeRoom,
    ) -> Result<Room> {
        todo!()
    }
}
