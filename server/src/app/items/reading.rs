//! Reads items: one, those of a room, and those of all rooms of a person.

use super::kind::ItemKind;
use crate::{
    app::{
        Actor, App, Error, Result,
        access::OwnRooms,
        page::{Cursor, FoundCursor, page_limit},
    },
    store::{
        Read,
        journal::{Entry, FIND_ROOMS_MAX, FindQuery, JournalError, Page},
    },
};
use roost_schema::{
    Direction, FoundItems, Item, ItemId, ItemPage, Kind, Op, PageQuery, Position, RoomId, Seq, Term,
};

/// Searches for one page of a person's items. A person with more rooms than these cover reads on with the next page.
const SEARCHES_MAX: usize = 10;

/// A page of a room's items of one kind.
pub(super) struct EntryPage {
    pub(super) entries: Vec<Entry>,
    /// Where the next page begins; absent on the last one.
    pub(super) next: Option<String>,
    /// The room's position before the first page was read.
    pub(super) position: Position,
}

/// Selects items of a room.
#[derive(Clone, Debug)]
pub struct ItemQuery {
    pub kind: Kind,
    pub term: Option<Term>,
    pub direction: Direction,
}

impl ItemQuery {
    /// Errors: `invalid` for a text that cannot name a kind.
    pub fn parse(kind: &str, term: Option<Term>, direction: Direction) -> Result<Self> {
        const KIND_CHARS_MAX: usize = 32;
        let is_word = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        let begins = kind.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins || kind.len() > KIND_CHARS_MAX || !kind.bytes().all(is_word) {
            return Err(Error::Invalid {
                field: "kind",
                problem: "must be a word of at most 32 characters of a-z 0-9 _ -",
            });
        }
        Ok(Self {
            kind: kind.into(),
            term,
            direction,
        })
    }

    fn find(&self, limit_items: usize) -> FindQuery {
        FindQuery {
            kind: self.kind.clone(),
            term: self.term.clone(),
            direction: self.direction,
            limit_items,
        }
    }
}

impl App {
    /// An item of any kind, those of later releases included.
    pub async fn read_item(&self, actor: &Actor, room: RoomId, item: ItemId) -> Result<Item> {
        let entry = self.newest_entry(actor, room, item).await?;
        entry.map(Item::from).ok_or(NO_SUCH_ITEM)
    }

    /// A page of a room's items of any kind, in the order they were made.
    pub async fn list_items(
        &self,
        actor: &Actor,
        room: RoomId,
        query: ItemQuery,
        page: PageQuery,
    ) -> Result<ItemPage> {
        let page = self.list_entries(actor, room, query, page).await?;
        Ok(ItemPage {
            items: page.entries.into_iter().map(Item::from).collect(),
            next: page.next,
            position: page.position,
        })
    }

    /// A page of the items of a kind in all rooms of the actor: room by room in the order of their ids, in each in the
    /// order they were made. It ends early after many rooms without one.
    pub async fn find_items(
        &self,
        actor: &Actor,
        query: ItemQuery,
        page: PageQuery,
    ) -> Result<FoundItems> {
        let limit_items = page_limit(&page)?;
        let cursor = page.cursor.as_deref().map(str::parse).transpose()?;
        let mut from: Option<FoundCursor> = cursor;
        let mut found = FoundItems::default();
        for _ in 0..SEARCHES_MAX {
            let first = from.map(|cursor| cursor.room);
            let mut rooms = self.own_rooms(actor, first, FIND_ROOMS_MAX).await?;
            let (listed, last) = (rooms.ids().len(), rooms.ids().last().copied());
            let asked = query.find(limit_items - found.items.len());
            let beyond = |room| {
                from.filter(|from: &FoundCursor| from.room == room)
                    .map(|from| from.born)
            };
            let pages = self
                .find_in_sound(&mut rooms, beyond, asked, &mut found)
                .await?;
            for (room, page) in rooms.ids().iter().zip(pages) {
                let room_left = limit_items - found.items.len();
                let is_cut = page.more || page.entries.len() > room_left;
                let items = page.entries.into_iter().take(room_left);
                found.items.extend(items.map(Item::from));
                if is_cut || found.items.len() == limit_items {
                    let seen = found.items.last();
                    let seen = seen.filter(|item| item.room_id == *room);
                    let born = seen.map(|item| item.born).or(beyond(*room));
                    found.next = Some(FoundCursor::new(*room, born).to_string());
                    return Ok(found);
                }
            }
            match last {
                Some(last) if listed == FIND_ROOMS_MAX => from = Some(FoundCursor::after(last)),
                _ => return Ok(found),
            }
        }
        found.next = from.map(|from| from.to_string());
        Ok(found)
    }

    /// A page of each of these rooms but the corrupt ones, which are noted and left out: one of them must not hide the
    /// others.
    async fn find_in_sound(
        &self,
        rooms: &mut OwnRooms,
        beyond: impl Fn(RoomId) -> Option<Seq>,
        query: FindQuery,
        found: &mut FoundItems,
    ) -> Result<Vec<Page>> {
        loop {
            match self.find_in_own(rooms, &beyond, query.clone()).await {
                Ok(pages) => return Ok(pages),
                Err(JournalError::Corrupt { room, .. }) if rooms.ids().contains(&room) => {
                    rooms.leave_out(room);
                    found.corrupt_rooms.push(room);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The newest entry of an item of this kind.
    pub(super) async fn read_entry<K: ItemKind>(
        &self,
        actor: &Actor,
        room: RoomId,
        item: ItemId,
    ) -> Result<Entry> {
        let entry = self.newest_entry(actor, room, item).await?;
        let is_one = |entry: &Entry| entry.kind == K::KIND;
        entry.filter(is_one).ok_or_else(|| K::MISSING.into())
    }

    /// The newest entry of an item that is not deleted.
    async fn newest_entry(
        &self,
        actor: &Actor,
        room: RoomId,
        item: ItemId,
    ) -> Result<Option<Entry>> {
        let room = self.enter_room(actor, room, Read).await?;
        let found = self.items_in(&room, &[item]).await?;
        Ok(found.into_iter().find(|entry| entry.op == Op::Put))
    }

    /// A page of the room's items, with the head that was read before the first page.
    pub(super) async fn list_entries(
        &self,
        actor: &Actor,
        room: RoomId,
        query: ItemQuery,
        page: PageQuery,
    ) -> Result<EntryPage> {
        let room = self.enter_room(actor, room, Read).await?;
        let limit_items = page_limit(&page)?;
        let (beyond, position) = match page.cursor.as_deref() {
            Some(cursor) => {
                let cursor: Cursor = cursor.parse()?;
                (Some(cursor.born), cursor.position)
            }
            None => (None, self.position_in(&room).await?),
        };
        let query = query.find(limit_items);
        let found = self.find_in(&room, beyond, query).await?;
        let last = found.entries.last().filter(|_| found.more);
        Ok(EntryPage {
            next: last.map(|entry| Cursor::new(entry.born, position).to_string()),
            entries: found.entries,
            position,
        })
    }
}

const NO_SUCH_ITEM: Error = Error::not_found("there is no such item here");
