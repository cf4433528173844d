//! REST: one method per use case.

use crate::{Client, Result};
use reqwest::{Method, RequestBuilder};
use roost_schema::{
    BatchItems, BatchOutcome, ChangeRole, ChangeRoom, CreateBoard, DeleteItem, DeleteMessage,
    Direction, EditMessage, EditMessageBody, FoundItems, InviteMember, Item, ItemBody, ItemId,
    ItemOps, ItemPage, Me, Member, MemberPage, Message, MessagePage, NameSession, NewItem, OpId,
    OpenConversation, PageQuery, PatchItem, Position, Presence, PutItem, RestoreItem, Room,
    RoomEvents, RoomId, RoomPage, SendMessage, Seq, Session, SessionId, Term, User, UserId,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

impl Client {
    pub async fn logout(&self) -> Result<()> {
        self.send(Method::POST, "/api/v1/auth/logout", plain).await
    }

    pub async fn me(&self) -> Result<Me> {
        self.read("me").await
    }

    pub async fn list_sessions(&self) -> Result<Vec<Session>> {
        let list: List<Session> = self.read("me/sessions").await?;
        Ok(list.items)
    }

    pub async fn name_session(&self, session: SessionId, input: &NameSession) -> Result<Session> {
        let path = format!("me/sessions/{session}");
        self.write(Method::PATCH, &path, input).await
    }

    pub async fn revoke_session(&self, session: SessionId) -> Result<()> {
        self.remove(&format!("me/sessions/{session}"), None, None)
            .await
    }

    pub async fn revoke_other_sessions(&self) -> Result<()> {
        self.remove("me/sessions", None, None).await
    }

    pub async fn search_users(&self, query: &str) -> Result<Vec<User>> {
        let with = |request: RequestBuilder| request.query(&[("query", query)]);
        let list: List<User> = self.send(Method::GET, "/api/v1/users/search", with).await?;
        Ok(list.items)
    }

    pub async fn create_board(&self, input: &CreateBoard) -> Result<Room> {
        self.write(Method::POST, "boards", input).await
    }

    pub async fn open_conversation(&self, input: &OpenConversation) -> Result<Room> {
        self.write(Method::POST, "conversations", input).await
    }

    pub async fn list_rooms(&self, page: &PageQuery) -> Result<RoomPage> {
        let with = |request: RequestBuilder| request.query(page);
        self.send(Method::GET, "/api/v1/rooms", with).await
    }

    pub async fn read_room(&self, room: RoomId) -> Result<Room> {
        self.read(&format!("rooms/{room}")).await
    }

    pub async fn change_room(&self, room: RoomId, input: &ChangeRoom) -> Result<Room> {
        self.write(Method::PATCH, &format!("rooms/{room}"), input)
            .await
    }

    pub async fn list_members(&self, room: RoomId, page: &PageQuery) -> Result<MemberPage> {
        let path = format!("/api/v1/rooms/{room}/members");
        let with = |request: RequestBuilder| request.query(page);
        self.send(Method::GET, &path, with).await
    }

    pub async fn invite_member(&self, room: RoomId, input: &InviteMember) -> Result<Member> {
        let path = format!("rooms/{room}/members");
        self.write(Method::POST, &path, input).await
    }

    pub async fn change_role(
        &self,
        room: RoomId,
        member: UserId,
        input: &ChangeRole,
    ) -> Result<Member> {
        let path = format!("rooms/{room}/members/{member}");
        self.write(Method::PATCH, &path, input).await
    }

    /// Removes a member. Removing oneself is leaving the room.
    pub async fn remove_member(
        &self,
        room: RoomId,
        member: UserId,
        op_id: Option<&OpId>,
    ) -> Result<()> {
        self.remove(&format!("rooms/{room}/members/{member}"), op_id, None)
            .await
    }

    pub async fn send_message(&self, room: RoomId, input: &SendMessage) -> Result<Message> {
        let path = format!("rooms/{room}/messages");
        self.write(Method::POST, &path, input).await
    }

    pub async fn read_message(&self, room: RoomId, message: ItemId) -> Result<Message> {
        self.read(&format!("rooms/{room}/messages/{message}")).await
    }

    pub async fn edit_message(
        &self,
        room: RoomId,
        message: ItemId,
        input: &EditMessage,
    ) -> Result<Message> {
        let path = format!("/api/v1/rooms/{room}/messages/{message}");
        let body = EditMessageBody {
            text: input.text.clone(),
            op_id: input.op_id.clone(),
        };
        let with = |request: RequestBuilder| conditional(request.json(&body), input.if_match);
        self.send(Method::PATCH, &path, with).await
    }

    pub async fn delete_message(
        &self,
        room: RoomId,
        message: ItemId,
        input: &DeleteMessage,
    ) -> Result<()> {
        let path = format!("rooms/{room}/messages/{message}");
        self.remove(&path, input.op_id.as_ref(), input.if_match)
            .await
    }

    /// A page of a room's history.
    pub async fn list_messages(
        &self,
        room: RoomId,
        direction: Direction,
        page: &PageQuery,
    ) -> Result<MessagePage> {
        #[derive(Serialize)]
        struct Query {
            direction: Direction,
        }
        let path = format!("/api/v1/rooms/{room}/messages");
        let with = |request: RequestBuilder| request.query(&Query { direction }).query(page);
        self.send(Method::GET, &path, with).await
    }

    pub async fn read_item(&self, room: RoomId, item: ItemId) -> Result<Item> {
        self.read(&format!("rooms/{room}/items/{item}")).await
    }

    /// A page of a room's items of a kind, all of them or those with a term.
    pub async fn list_items(
        &self,
        room: RoomId,
        kind: &str,
        term: Option<&Term>,
        page: &PageQuery,
    ) -> Result<ItemPage> {
        let path = format!("/api/v1/rooms/{room}/items");
        let with = |request| of_kind(request, kind, term).query(page);
        self.send(Method::GET, &path, with).await
    }

    /// A page of the items of a kind in all rooms of the person.
    pub async fn find_items(
        &self,
        kind: &str,
        term: Option<&Term>,
        page: &PageQuery,
    ) -> Result<FoundItems> {
        let with = |request| of_kind(request, kind, term).query(page);
        self.send(Method::GET, "/api/v1/me/items", with).await
    }

    /// Makes a new item: `conflict` if there is or was one with its id. It has no version yet, so `if_match` is not sent.
    pub async fn create_item(&self, input: &PutItem) -> Result<Item> {
        let path = format!("/api/v1/rooms/{}/items", input.room);
        let body = NewItem {
            kind: input.kind.clone(),
            id: input.item,
            body: input.body.clone(),
        };
        let with = |request: RequestBuilder| named(request.json(&body), input.op_id.as_ref());
        self.send(Method::POST, &path, with).await
    }

    /// Makes the item, or changes the one that is there; without an id, makes a new one.
    pub async fn put_item(&self, input: &PutItem) -> Result<Item> {
        let Some(item) = input.item else {
            return self.create_item(input).await;
        };
        let path = item_path(input.room, item);
        let body = body_of(&input.kind, &input.body);
        let with = |request: RequestBuilder| {
            let request = conditional(request.json(&body), input.if_match);
            named(request, input.op_id.as_ref())
        };
        self.send(Method::PUT, &path, with).await
    }

    pub async fn patch_item(&self, input: &PatchItem) -> Result<Item> {
        let path = item_path(input.room, input.item);
        let body = body_of(&input.kind, &input.body);
        let with = |request: RequestBuilder| {
            let request = conditional(request.json(&body), input.if_match);
            named(request, input.op_id.as_ref())
        };
        self.send(Method::PATCH, &path, with).await
    }

    pub async fn delete_item(&self, input: &DeleteItem) -> Result<()> {
        let path = format!("rooms/{}/items/{}", input.room, input.item);
        self.remove(&path, input.op_id.as_ref(), input.if_match)
            .await
    }

    /// Brings back an item that was deleted, in its place.
    pub async fn restore_item(&self, input: &RestoreItem) -> Result<Item> {
        let path = format!("{}/restore", item_path(input.room, input.item));
        let body = body_of(&input.kind, &input.body);
        let with = |request: RequestBuilder| named(request.json(&body), input.op_id.as_ref());
        self.send(Method::POST, &path, with).await
    }

    /// Makes changes of items. Each succeeds or fails by itself.
    pub async fn change_items(&self, input: &BatchItems) -> Result<BatchOutcome> {
        let path = format!("/api/v1/rooms/{}/items/batch", input.room);
        let ops = ItemOps {
            ops: input.ops.clone(),
        };
        let with = |request: RequestBuilder| named(request.json(&ops), input.op_id.as_ref());
        self.send(Method::POST, &path, with).await
    }

    /// A page of what changed after a position; without a position, of the room's full state.
    pub async fn list_events(&self, room: RoomId, after: Option<Position>) -> Result<RoomEvents> {
        let path = format!("/api/v1/rooms/{room}/events");
        let after = after.map(|after| ("after", after));
        let with = |request: RequestBuilder| request.query(after.as_slice());
        self.send(Method::GET, &path, with).await
    }

    pub async fn list_presence(&self, room: RoomId) -> Result<Vec<Presence>> {
        let list: List<Presence> = self.read(&format!("rooms/{room}/presence")).await?;
        Ok(list.items)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.send(Method::GET, &format!("/api/v1/{path}"), plain)
            .await
    }

    async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        input: &impl Serialize,
    ) -> Result<T> {
        let with = |request: RequestBuilder| request.json(input);
        self.send(method, &format!("/api/v1/{path}"), with).await
    }

    async fn remove(&self, path: &str, op_id: Option<&OpId>, if_match: Option<Seq>) -> Result<()> {
        let with = |request: RequestBuilder| named(conditional(request, if_match), op_id);
        self.send(Method::DELETE, &format!("/api/v1/{path}"), with)
            .await
    }
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

fn plain(request: RequestBuilder) -> RequestBuilder {
    request
}

fn of_kind(request: RequestBuilder, kind: &str, term: Option<&Term>) -> RequestBuilder {
    let term = term.map(|term| ("term", term.as_str()));
    request.query(&[("kind", kind)]).query(term.as_slice())
}

fn item_path(room: RoomId, item: ItemId) -> String {
    format!("/api/v1/rooms/{room}/items/{item}")
}

fn body_of(kind: &str, body: &Value) -> ItemBody {
    ItemBody {
        kind: kind.to_owned(),
        body: body.clone(),
    }
}

fn named(request: RequestBuilder, op_id: Option<&OpId>) -> RequestBuilder {
    match op_id {
        Some(op_id) => request.header("idempotency-key", op_id.as_str()),
        None => request,
    }
}

/// An item's entity tag is its seq in quotes.
fn conditional(request: RequestBuilder, if_match: Option<Seq>) -> RequestBuilder {
    match if_match {
        Some(seq) => request.header("if-match", format!("\"{seq}\"")),
        None => request,
    }
}
