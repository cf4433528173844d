//! Rooms: boards and conversations, their title and archive.

use super::{
    Actor, App, Error, Result,
    access::{NO_SUCH_ROOM, Right, RoomAccess},
    operations::request_hash,
    page::{BROKEN_CURSOR, page_limit},
};
use crate::store::{NewRoom, Operation, Owner, Read, RoomEdit, RoomError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use roost_schema::{
    ChangeRoom, CreateBoard, ErrorCode, OpId, OpenConversation, PageQuery, Room, RoomId, RoomPage,
    RoomType, Title, UserId,
};
use serde::Serialize;
use std::collections::HashSet;
use uuid::Uuid;

/// How many people a group may be opened with, besides its creator.
const GROUP_OTHERS_MAX: usize = 100;

impl App {
    pub async fn create_board(&self, actor: &Actor, input: CreateBoard) -> Result<Room> {
        let title = parse_title(&input.title)?;
        let operation = operation(actor, input.op_id, "create_board", &title);
        let new = NewRoom {
            room_type: RoomType::Board,
            title,
            creator: actor.user_id,
            others: Vec::new(),
        };
        let room = self.store.rooms.create(operation.as_ref(), &new).await?;
        self.acknowledge(actor, room.id, 1).await?;
        Ok(room)
    }

    /// Opens a conversation. With one other person and no title it is the direct one of the two, made if there is none.
    pub async fn open_conversation(&self, actor: &Actor, input: OpenConversation) -> Result<Room> {
        let others = parse_others(actor, input.user_ids)?;
        let events = others.len();
        let title = input.title.as_deref().map(parse_title).transpose()?;
        let request = (&others, &title);
        let operation = operation(actor, input.op_id, "open_conversation", &request);
        let room = match (title, others.as_slice()) {
            (None, [other]) => {
                let rooms = &self.store.rooms;
                rooms
                    .open_direct(operation.as_ref(), actor.user_id, *other)
                    .await?
            }
            (None, _) => {
                return Err(Error::Invalid {
                    field: "title",
                    problem: "is missing: a conversation of more than two has one",
                });
            }
            (Some(title), _) => {
                let new = NewRoom {
                    room_type: RoomType::Group,
                    title,
                    creator: actor.user_id,
                    others,
                };
                self.store.rooms.create(operation.as_ref(), &new).await?
            }
        };
        self.acknowledge(actor, room.id, events).await?;
        Ok(room)
    }

    /// The rooms the actor is a member of, newest first; of some types only, if any are named.
    /// Personal rooms are never listed.
    pub async fn list_rooms(
        &self,
        actor: &Actor,
        types: &[RoomType],
        page: PageQuery,
    ) -> Result<RoomPage> {
        const LISTED: [RoomType; 3] = [RoomType::Board, RoomType::Direct, RoomType::Group];
        let mut listed = LISTED.to_vec();
        listed.retain(|room_type| types.is_empty() || types.contains(room_type));
        let limit = page_limit(&page)?;
        let before = page.cursor.as_deref().map(decode_cursor).transpose()?;
        let before = before.map(|key| RoomId::from_uuid(Uuid::from_bytes(key)));
        // One more than the limit is read, to know whether there is a next page.
        let rooms = &self.store.rooms;
        let found = rooms.list(actor.user_id, &listed, before, limit as u64 + 1);
        let mut items = found.await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next = last.map(|room| encode_cursor(room.id.as_uuid().as_bytes()));
        Ok(RoomPage { items, next })
    }

    pub async fn read_room(&self, actor: &Actor, room: RoomId) -> Result<Room> {
        let access = self.enter_room(actor, room, Read).await?;
        let found = self.store.rooms.find(access.acting()).await?;
        // The room is gone for a member whose removal is committed and has not reached this instance.
        Ok(found.ok_or(NO_SUCH_ROOM)?)
    }

    /// Changes the title, the archive, or both. An empty change returns the room as it is.
    pub async fn change_room(
        &self,
        actor: &Actor,
        room: RoomId,
        input: ChangeRoom,
    ) -> Result<Room> {
        let title = input.title.as_deref().map(parse_title).transpose()?;
        let request = (room, &title, input.archived);
        let operation = operation(actor, input.op_id, "change_room", &request);
        if let Some(done) = self.repeat(actor, room, operation.as_ref()).await? {
            return Ok(done);
        }
        let archived = input.archived;
        let access = self.enter_shared_room(actor, room, RoomEdit { title, archived });
        let acting = access.await?.acting();
        let rooms = &self.store.rooms;
        let changed = rooms.change(acting, operation.as_ref()).await?;
        self.acknowledge(actor, room, 1).await?;
        Ok(changed)
    }

    /// As [`App::enter_room`], for changes that direct and personal rooms do not allow.
    pub(super) async fn enter_shared_room<R: Right>(
        &self,
        actor: &Actor,
        room: RoomId,
        right: R,
    ) -> Result<RoomAccess<R>> {
        let entered = self.read_room(actor, room).await?;
        match entered.room_type {
            RoomType::Direct => Err(Error::conflict(
                "a direct conversation stays as it is: two people, no title, no archive",
            )),
            RoomType::Personal => Err(Error::conflict("your own room stays as it is")),
            RoomType::Board | RoomType::Group => self.enter_room(actor, room, right).await,
        }
    }

    /// The first answer of an operation that is repeated. It is looked up before the permission is checked, because the
    /// operation may have taken the permission away.
    pub(super) async fn repeat<T: serde::de::DeserializeOwned>(
        &self,
        actor: &Actor,
        room: RoomId,
        operation: Option<&Operation>,
    ) -> Result<Option<T>> {
        let Some(operation) = operation else {
            return Ok(None);
        };
        let done = self.store.rooms.known(operation).await?;
        if done.is_some() {
            self.acknowledge(actor, room, 1).await?;
        }
        Ok(done)
    }
}

/// The operation of a use case on rooms or members, which is done once if the client named it.
pub(super) fn operation(
    actor: &Actor,
    op_id: Option<OpId>,
    use_case: &str,
    input: &impl Serialize,
) -> Option<Operation> {
    Some(Operation {
        owner: Owner::Person(actor.user_id),
        op_id: op_id?,
        request_hash: request_hash(use_case, input),
    })
}

pub(super) fn encode_cursor(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

pub(super) fn decode_cursor<const N: usize>(cursor: &str) -> Result<[u8; N]> {
    let key = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BROKEN_CURSOR)?;
    key.try_into().map_err(|_| BROKEN_CURSOR)
}

fn parse_title(text: &str) -> Result<Title> {
    text.parse()
        .map_err(|problem: roost_schema::Invalid| Error::Invalid {
            field: "title",
            problem: problem.0,
        })
}

fn parse_others(actor: &Actor, others: Vec<UserId>) -> Result<Vec<UserId>> {
    let invalid = |problem| {
        Err(Error::Invalid {
            field: "userIds",
            problem,
        })
    };
    if others.is_empty() || others.len() > GROUP_OTHERS_MAX {
        return invalid("must be 1 to 100 people");
    }
    if others.contains(&actor.user_id) {
        return invalid("names you: name the others only");
    }
    if others.iter().collect::<HashSet<_>>().len() < others.len() {
        return invalid("names a person twice");
    }
    Ok(others)
}

const ROLE_CHANGED: Error =
    Error::conflict("your role in this room has just changed; look again and repeat");

impl From<RoomError> for Error {
    fn from(error: RoomError) -> Self {
        let (code, sentence) = match error {
            RoomError::Store(error) => return error.into(),
            RoomError::RoleChanged => return ROLE_CHANGED,
            RoomError::OpIdReused => (
                ErrorCode::OpIdReused,
                "this operation id was used with another request before",
            ),
            RoomError::UnknownPerson => (ErrorCode::NotFound, "there is no such person"),
            RoomError::AlreadyMember => (ErrorCode::Conflict, "that person is a member already"),
            RoomError::NotMember => (ErrorCode::NotFound, "that person is not a member here"),
            RoomError::LastOwner => (
                ErrorCode::LastOwner,
                "a room keeps an owner: name another one first",
            ),
            RoomError::Archived => (
                ErrorCode::Archived,
                "the room is archived; take it out of the archive first",
            ),
            RoomError::RoomFull => (ErrorCode::LimitReached, "a room has at most 1000 members"),
            RoomError::TooManyRooms => (
                ErrorCode::LimitReached,
                "a person is a member of at most 10000 rooms",
            ),
        };
        Self::refused(code, sentence)
    }
}
