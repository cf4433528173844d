//! What is read of the journal, with the proof that it may be read.

use super::{Actor, RoomAccess};
use crate::{
    app::{App, Result},
    store::{
        Read,
        journal::{Entry, FindQuery, FindRoom, JournalError, Page},
    },
};
use roost_schema::{ItemId, RoomId, Seq};

/// Rooms that the database says an actor is a member of. Only [`App::own_rooms`] makes one.
pub(in crate::app) struct OwnRooms(Vec<RoomId>);

impl OwnRooms {
    pub(in crate::app) fn ids(&self) -> &[RoomId] {
        &self.0
    }

    /// Without one of them.
    pub(in crate::app) fn leave_out(&mut self, room: RoomId) {
        self.0.retain(|own| *own != room);
    }
}

impl App {
    /// The newest entries of some items of a room.
    pub(in crate::app) async fn items_in(
        &self,
        room: &RoomAccess<Read>,
        items: &[ItemId],
    ) -> Result<Vec<Entry>> {
        Ok(self.store.journal.items(room.room_id, items).await?)
    }

    /// A page of a room's items.
    pub(in crate::app) async fn find_in(
        &self,
        room: &RoomAccess<Read>,
        beyond: Option<Seq>,
        query: FindQuery,
    ) -> Result<Page> {
        let room = room.room_id;
        let asked = FindRoom { room, beyond };
        Ok(self.store.journal.find_in(asked, query).await?)
    }

    /// The next rooms of the actor, by id, from one on. That they are the actor's is asked of the database: looking into a
    /// room must not load it.
    pub(in crate::app) async fn own_rooms(
        &self,
        actor: &Actor,
        from: Option<RoomId>,
        limit: usize,
    ) -> Result<OwnRooms> {
        let rooms = &self.store.rooms;
        Ok(OwnRooms(rooms.list_ids(actor.user_id, from, limit).await?))
    }

    /// A page of each of the actor's rooms; `beyond` says where each begins.
    pub(in crate::app) async fn find_in_own(
        &self,
        rooms: &OwnRooms,
        beyond: impl Fn(RoomId) -> Option<Seq>,
        query: FindQuery,
    ) -> Result<Vec<Page>, JournalError> {
        let asked = |room: &RoomId| FindRoom {
            room: *room,
            beyond: beyond(*room),
        };
        let rooms: Vec<_> = rooms.0.iter().map(asked).collect();
        self.store.journal.find(&rooms, query).await
    }
}
