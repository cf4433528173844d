//! The same command on three transports, and the same room watched on three transports.

use super::{DEADLINE, Person};
use roost_client::{Error, EventStream, Result, Socket, Subscription};
use roost_schema::{
    DeleteItem, DeleteMessage, EditMessage, Item, ItemId, Message, MessageState, PageQuery,
    PatchItem, Position, PutItem, RoomEvent, RoomEvents, RoomId, SendMessage, SendMessageToRoom,
    Term,
};
use serde_json::{Value, json};
use std::future::Future;
use tokio::time::timeout;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Rest,
    GraphQl,
    SocketIo,
}

impl Via {
    pub(crate) const ALL: [Self; 3] = [Self::Rest, Self::GraphQl, Self::SocketIo];
}

const MESSAGE_FIELDS: &str = "id roomId seq authorId text createdAt editedAt";

impl Person {
    pub(crate) async fn send(&self, via: Via, room: RoomId, input: SendMessage) -> Result<Message> {
        match via {
            Via::Rest => self.send_message(room, &input).await,
            Via::GraphQl => {
                let query = format!(
                    "mutation($room: RoomId!, $input: SendMessage!) {{
                        sendMessage(room: $room, input: $input) {{ {MESSAGE_FIELDS} }}
                    }}"
                );
                self.mutate(&query, json!({ "room": room, "input": input }))
                    .await
            }
            Via::SocketIo => {
                let SendMessage { text, id, op_id } = input;
                let input = SendMessageToRoom {
                    room,
                    text,
                    id,
                    op_id,
                };
                self.socket().await.send_message(&input).await
            }
        }
    }

    pub(crate) async fn edit(
        &self,
        via: Via,
        room: RoomId,
        message: ItemId,
        input: EditMessage,
    ) -> Result<Message> {
        match via {
            Via::Rest => self.edit_message(room, message, &input).await,
            Via::GraphQl => {
                let query = format!(
                    "mutation($room: RoomId!, $message: ItemId!, $input: EditMessage!) {{
                        editMessage(room: $room, message: $message, input: $input) {{ {MESSAGE_FIELDS} }}
                    }}"
                );
                let EditMessage {
                    text,
                    op_id,
                    if_match,
                } = input;
                let input = json!({ "text": text, "opId": op_id, "ifMatch": if_match });
                let variables = json!({ "room": room, "message": message, "input": input });
                self.mutate(&query, variables).await
            }
            Via::SocketIo => {
                let input = PutItem {
                    room,
                    kind: "message".into(),
                    item: Some(message),
                    body: json!({ "text": input.text }),
                    op_id: input.op_id,
                    if_match: input.if_match,
                };
                let event = self.socket().await.put_item(&input).await?;
                Ok(as_message(room, &event))
            }
        }
    }

    pub(crate) async fn delete(
        &self,
        via: Via,
        room: RoomId,
        message: ItemId,
        input: DeleteMessage,
    ) -> Result<()> {
        let DeleteMessage { op_id, if_match } = input.clone();
        match via {
            Via::Rest => self.delete_message(room, message, &input).await,
            Via::GraphQl => {
                let query = "mutation($room: RoomId!, $message: ItemId!, $input: DeleteMessage) {
                    deleteMessage(room: $room, message: $message, input: $input)
                }";
                let input = json!({ "opId": op_id, "ifMatch": if_match });
                let variables = json!({ "room": room, "message": message, "input": input });
                self.mutate::<bool>(query, variables).await.map(drop)
            }
            Via::SocketIo => {
                let input = DeleteItem {
                    room,
                    item: message,
                    op_id,
                    if_match,
                };
                self.socket().await.delete_item(&input).await.map(drop)
            }
        }
    }

    /// Makes an item of a kind, over a socket.
    pub(crate) async fn put(&self, kind: &str, room: RoomId, body: Value) -> Result<RoomEvent> {
        let put = PutItem {
            room,
            kind: kind.into(),
            item: None,
            body,
            op_id: None,
            if_match: None,
        };
        self.socket().await.put_item(&put).await
    }

    /// Changes fields of an item, over a socket.
    pub(crate) async fn patch(
        &self,
        kind: &str,
        room: RoomId,
        item: ItemId,
        body: Value,
    ) -> Result<RoomEvent> {
        let patch = PatchItem {
            room,
            kind: kind.into(),
            item,
            body,
            op_id: None,
            if_match: None,
        };
        self.socket().await.patch_item(&patch).await
    }

    /// The items of a kind in all rooms that have a term.
    pub(crate) async fn found(&self, kind: &str, term: &str) -> Vec<Item> {
        let term: Term = term.parse().unwrap();
        let page = PageQuery::default();
        let found = self.find_items(kind, Some(&term), &page).await.unwrap();
        assert_eq!(found.next, None);
        found.items
    }

    /// Watches a room after a position; without one, from now on. REST: by server-sent events.
    pub(crate) async fn watch(
        &self,
        via: Via,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<Watch> {
        Ok(match via {
            Via::Rest => Watch::Stream(self.stream_room(room, after).await?),
            Via::GraphQl => {
                let subscription = self.subscribe_room(room, after).await?;
                Watch::Subscription(Box::new(subscription))
            }
            Via::SocketIo => {
                let socket = Socket::connect(self.client()).await?;
                socket.join(room, after).await?;
                Watch::Socket(socket)
            }
        })
    }

    /// Runs a mutation of one field and reads its answer.
    async fn mutate<T: serde::de::DeserializeOwned>(
        &self,
        query: &str,
        variables: Value,
    ) -> Result<T> {
        let data: serde_json::Map<String, Value> = self.query(query, variables).await?;
        let answer = data.into_iter().next().expect("one field was asked for").1;
        Ok(serde_json::from_value(answer).unwrap())
    }
}

/// A room that is being watched.
pub(crate) enum Watch {
    Stream(EventStream),
    Subscription(Box<Subscription>),
    Socket(Socket),
}

impl Watch {
    /// The next frame of changes.
    pub(crate) async fn next(&mut self) -> Result<RoomEvents> {
        let next = async {
            match self {
                Self::Stream(stream) => stream.next_events().await,
                Self::Subscription(subscription) => subscription
                    .next_events()
                    .await?
                    .ok_or_else(|| Error::Disconnected("completed".into())),
                Self::Socket(socket) => loop {
                    let event = socket
                        .next_event()
                        .await
                        .ok_or_else(|| Error::Disconnected("closed".into()))?;
                    if event.name == "room:events" {
                        return event.read();
                    }
                },
            }
        };
        in_time(next).await
    }

    /// Collects changes as they come, until there are so many.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<RoomEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.unwrap().events);
        }
        events
    }
}

/// Waits for a future, and fails after the deadline.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what)
        .await
        .expect("it did not come in time")
}

fn as_message(room: RoomId, event: &RoomEvent) -> Message {
    let state: MessageState = event.body.decode().unwrap();
    Message {
        id: event.item,
        room_id: room,
        seq: event.seq,
        author_id: state.author_id,
        text: state.text,
        created_at: state.created_at,
        edited_at: state.edited_at,
    }
}
