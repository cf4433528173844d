//! Asks for one and the same operation by any of the routes, and shows the answers of all of them alike.

use crate::support::{Person, Via};
use roost_client::{Error, Result};
use roost_schema::{
    BatchItems, BatchOutcome, Body, DeleteItem, DeleteMessage, EditMessage, Item, ItemId, ItemOp,
    Message, OpId, PatchItem, PutItem, RestoreItem, RoomEvent, RoomId, SendMessage, Seq,
};
use serde_json::{Map, Value, json};

/// What a route calls the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Put,
    Patch,
    Delete,
    Restore,
}

/// A way to ask for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The routes of messages alone, such as `/messages`, `sendMessage` and `message:send`.
    Message(Via, Verb),
    /// The routes of one item of any kind, such as `/items/{id}` and `item:put`.
    Item(Via, Verb),
    /// A list of this one change: `/items/batch`, `putItems`, `item:batch`.
    List(Via, Verb),
}

/// An operation, with everything that any route needs to express it.
pub(super) struct Asked {
    pub(super) room: RoomId,
    pub(super) kind: &'static str,
    /// Absent: the server makes the id.
    pub(super) item: Option<ItemId>,
    /// The fields of a message or a todo; for a restore, the state as it was read.
    pub(super) body: Value,
    pub(super) op_id: OpId,
    pub(super) if_match: Option<Seq>,
}

/// What a route says of an operation that was done. Some routes answer a deletion with nothing, and a list has no states.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) at: Option<(ItemId, Seq)>,
    state: Option<Value>,
}

impl Answer {
    const NOTHING: Self = Self {
        at: None,
        state: None,
    };

    /// Checks that another answer is about the same change, and remembers what only it says.
    pub(super) fn check(&mut self, again: &Self, done: (Option<ItemId>, Seq), context: &str) {
        let (item, seq) = done;
        if let Some(at) = again.at {
            assert_eq!(at.1, seq, "{context}");
            assert_eq!(at.0, item.unwrap_or(at.0), "{context}");
            assert_eq!(self.at.get_or_insert(at), &at, "{context}");
        }
        if let Some(state) = &again.state {
            let known = self.state.get_or_insert_with(|| state.clone());
            assert_eq!(known, state, "{context}");
        }
    }

    fn of(item: ItemId, seq: Seq, body: &Body) -> Self {
        Self {
            at: Some((item, seq)),
            state: Some(without_nulls(body.decode().unwrap())),
        }
    }
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        let state = json!({
            "authorId": message.author_id, "text": message.text,
            "createdAt": message.created_at, "editedAt": message.edited_at,
        });
        Self {
            at: Some((message.id, message.seq)),
            state: Some(without_nulls(state)),
        }
    }
}

impl From<Item> for Answer {
    fn from(item: Item) -> Self {
        Self::of(item.id, item.seq, &item.body)
    }
}

impl From<RoomEvent> for Answer {
    fn from(event: RoomEvent) -> Self {
        Self::of(event.item, event.seq, &event.body)
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::NOTHING
    }
}

/// A field that is absent is written as null by some routes and left out by others.
fn without_nulls(state: Value) -> Value {
    let Value::Object(fields) = state else {
        return state;
    };
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(fields.collect::<Map<_, _>>())
}

impl Person {
    pub(super) async fn ask_by(&self, route: Route, asked: &Asked) -> Result<Answer> {
        match route {
            Route::Message(via, verb) => self.ask_of_message(via, verb, asked).await,
            Route::Item(Via::Rest, verb) => self.ask_by_rest(verb, asked).await,
            Route::Item(Via::SocketIo, verb) => self.ask_by_socket(verb, asked).await,
            Route::Item(Via::GraphQl, _) => panic!("GraphQL takes lists only"),
            Route::List(via, verb) => {
                let list = BatchItems {
                    room: asked.room,
                    op_id: Some(asked.op_id.clone()),
                    ops: vec![asked.change(verb)],
                };
                only(self.batch(via, &list).await?)
            }
        }
    }

    async fn ask_of_message(&self, via: Via, verb: Verb, asked: &Asked) -> Result<Answer> {
        let (room, op_id) = (asked.room, Some(asked.op_id.clone()));
        let text = asked.body["text"].as_str().unwrap_or_default().to_owned();
        let if_match = asked.if_match;
        Ok(match verb {
            Verb::Create => {
                let id = asked.item;
                let input = SendMessage { text, id, op_id };
                self.send(via, room, input).await?.into()
            }
            Verb::Patch => {
                let input = EditMessage {
                    text,
                    op_id,
                    if_match,
                };
                self.edit(via, room, asked.id(), input).await?.into()
            }
            Verb::Delete => {
                let input = DeleteMessage { op_id, if_match };
                self.delete(via, room, asked.id(), input).await?.into()
            }
            Verb::Put | Verb::Restore => panic!("messages have no route of their own for it"),
        })
    }

    async fn ask_by_rest(&self, verb: Verb, asked: &Asked) -> Result<Answer> {
        Ok(match verb {
            Verb::Create => self.create_item(&asked.put()).await?.into(),
            Verb::Put => self.put_item(&asked.put()).await?.into(),
            Verb::Patch => self.patch_item(&asked.patch()).await?.into(),
            Verb::Delete => self.delete_item(&asked.delete()).await?.into(),
            Verb::Restore => self.restore_item(&asked.restore()).await?.into(),
        })
    }

    async fn ask_by_socket(&self, verb: Verb, asked: &Asked) -> Result<Answer> {
        let socket = self.socket().await;
        let event = match verb {
            Verb::Create => panic!("a socket puts what it makes"),
            Verb::Put => socket.put_item(&asked.put()).await?,
            Verb::Patch => socket.patch_item(&asked.patch()).await?,
            Verb::Delete => socket.delete_item(&asked.delete()).await?,
            Verb::Restore => socket.restore_item(&asked.restore()).await?,
        };
        Ok(event.into())
    }
}

/// The answer to the only change of a list.
fn only(done: BatchOutcome) -> Result<Answer> {
    let [outcome] = done.outcomes.try_into().unwrap();
    match outcome.error {
        Some(failure) => Err(Error::Refused(failure)),
        None => Ok(Answer {
            at: outcome.item.zip(outcome.seq),
            state: None,
        }),
    }
}

impl Asked {
    /// The item's id, which the operation has.
    fn id(&self) -> ItemId {
        self.item.expect("the operation is about an item")
    }

    fn put(&self) -> PutItem {
        PutItem {
            room: self.room,
            kind: self.kind.into(),
            item: self.item,
            body: self.body.clone(),
            op_id: Some(self.op_id.clone()),
            if_match: self.if_match,
        }
    }

    fn patch(&self) -> PatchItem {
        PatchItem {
            room: self.room,
            kind: self.kind.into(),
            item: self.id(),
            body: self.body.clone(),
            op_id: Some(self.op_id.clone()),
            if_match: self.if_match,
        }
    }

    fn delete(&self) -> DeleteItem {
        DeleteItem {
            room: self.room,
            item: self.id(),
            op_id: Some(self.op_id.clone()),
            if_match: self.if_match,
        }
    }

    fn restore(&self) -> RestoreItem {
        RestoreItem {
            room: self.room,
            kind: self.kind.into(),
            item: self.id(),
            body: self.body.clone(),
            op_id: Some(self.op_id.clone()),
        }
    }

    /// The same as a part of a list.
    fn change(&self, verb: Verb) -> ItemOp {
        let (kind, body, if_match) = (self.kind.into(), self.body.clone(), self.if_match);
        match verb {
            Verb::Create | Verb::Put => ItemOp::Put {
                kind,
                item: self.item,
                body,
                if_match,
            },
            Verb::Patch => ItemOp::Patch {
                kind,
                item: self.id(),
                body,
                if_match,
            },
            Verb::Delete => ItemOp::Delete {
                item: self.id(),
                if_match,
            },
            Verb::Restore => ItemOp::Restore {
                kind,
                item: self.id(),
                body,
            },
        }
    }
}
