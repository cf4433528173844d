//! Senders: people who write, edit and delete over one API each, and retry unanswered writes.

use super::ledger::{Ledger, Outcome, refusal};
use anyhow::Result;
use parking_lot::Mutex;
use roost_client::{Client, Error, Socket};
use roost_schema::{
    DeleteItem, DeleteMessage, EditMessage, ItemId, Message, OpId, PutItem, RoomEvent, RoomId,
    SendMessage, SendMessageToRoom,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// How many writes of one sender are in flight.
const WINDOW: usize = 4;
/// Keeps a sender below the 100 requests a second that one address may make.
const PACE: Duration = Duration::from_millis(50);
const RETRY_WAIT: Duration = Duration::from_millis(150);

#[derive(Clone, Copy)]
enum Via {
    Rest,
    GraphQl,
    SocketIo,
}

/// The state that one sender's workers share.
struct Sender {
    via: Via,
    client: Client,
    ledger: Arc<Ledger>,
    /// The only room that this sender writes in, where no other sender writes.
    sole: Option<RoomId>,
    /// The sender's living messages that no worker is changing.
    messages: Mutex<HashMap<RoomId, Vec<ItemId>>>,
    socket: tokio::sync::Mutex<Option<Arc<Socket>>>,
}

pub(super) fn start(
    tasks: &mut JoinSet<Result<()>>,
    number: usize,
    client: &Client,
    ledger: &Arc<Ledger>,
) {
    let via = [Via::Rest, Via::GraphQl, Via::SocketIo][number % 3];
    spawn(tasks, via, None, client, ledger);
}

/// Starts a sender that writes in one room only, over one socket, so that one instance commits all of it until that
/// instance dies.
pub(super) fn start_sole(
    tasks: &mut JoinSet<Result<()>>,
    room: RoomId,
    client: &Client,
    ledger: &Arc<Ledger>,
) {
    spawn(tasks, Via::SocketIo, Some(room), client, ledger);
}

fn spawn(
    tasks: &mut JoinSet<Result<()>>,
    via: Via,
    sole: Option<RoomId>,
    client: &Client,
    ledger: &Arc<Ledger>,
) {
    let sender = Arc::new(Sender {
        via,
        client: client.clone(),
        ledger: Arc::clone(ledger),
        sole,
        messages: Mutex::default(),
        socket: tokio::sync::Mutex::default(),
    });
    for _ in 0..WINDOW {
        let sender = Arc::clone(&sender);
        tasks.spawn(async move {
            while let Some(room) = sender.next_room().await {
                sender.write(room).await?;
                sleep(PACE).await;
            }
            Ok(())
        });
    }
}

/// One write, which retries repeat unchanged.
enum Write {
    Send(String),
    Edit(ItemId, String),
    Delete(ItemId),
    /// Edits a message that does not exist: it must be refused, and must not be in the journal.
    EditNothing(ItemId),
}

impl Sender {
    async fn next_room(&self) -> Option<RoomId> {
        match self.sole {
            Some(room) => self.ledger.take_sole().await.then_some(room),
            None => self.ledger.take().await,
        }
    }

    async fn write(&self, room: RoomId) -> Result<()> {
        let op_id: OpId = uuid::Uuid::now_v7().to_string().parse()?;
        let write = self.make_up(room, &op_id);
        self.ledger.begin(op_id.as_str());
        let outcome = loop {
            match self.attempt(room, &write, &op_id).await {
                Ok(item) => {
                    self.release(room, &write, item);
                    break Outcome::Acknowledged;
                }
                Err(error) => match error.code() {
                    Some(code) if !error.is_retryable() => {
                        break refusal(code, matches!(write, Write::EditNothing(_)));
                    }
                    None if !error.is_retryable() => break Outcome::Unexpected(error.to_string()),
                    _ => {
                        self.ledger.retries.fetch_add(1, SeqCst);
                        sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
                    }
                },
            }
        };
        self.ledger.end(op_id.as_str(), outcome);
        Ok(())
    }

    fn make_up(&self, room: RoomId, op_id: &OpId) -> Write {
        let mut messages = self.messages.lock();
        let own = messages.entry(room).or_default();
        let text = format!("{op_id} {}", "x".repeat(rand::random_range(0..200)));
        match rand::random_range(0..100) {
            0..2 => Write::EditNothing(ItemId::generate()),
            2..22 if !own.is_empty() => Write::Edit(own.remove(0), text),
            22..32 if !own.is_empty() => Write::Delete(own.remove(0)),
            _ => Write::Send(text),
        }
    }

    fn release(&self, room: RoomId, write: &Write, item: ItemId) {
        if matches!(write, Write::Send(_) | Write::Edit(..)) {
            let mut messages = self.messages.lock();
            messages.entry(room).or_default().push(item);
        }
    }

    async fn attempt(&self, room: RoomId, write: &Write, op_id: &OpId) -> Result<ItemId, Error> {
        match self.via {
            Via::Rest => self.by_rest(room, write, op_id).await,
            Via::GraphQl => self.by_graphql(room, write, op_id).await,
            Via::SocketIo => self.by_socket(room, write, op_id).await,
        }
    }

    async fn by_rest(&self, room: RoomId, write: &Write, op_id: &OpId) -> Result<ItemId, Error> {
        let op_id = Some(op_id.clone());
        let message = match write {
            Write::Send(text) => {
                let input = SendMessage {
                    text: text.clone(),
                    id: None,
                    op_id,
                };
                self.client.send_message(room, &input).await?
            }
            Write::Edit(item, text) => {
                let input = EditMessage {
                    text: text.clone(),
                    op_id,
                    if_match: None,
                };
                self.client.edit_message(room, *item, &input).await?
            }
            Write::EditNothing(item) => {
                let input = EditMessage {
                    text: "nothing".into(),
                    op_id,
                    if_match: None,
                };
                self.client.edit_message(room, *item, &input).await?
            }
            Write::Delete(item) => {
                let input = DeleteMessage {
                    op_id,
                    if_match: None,
                };
                self.client.delete_message(room, *item, &input).await?;
                return Ok(*item);
            }
        };
        Ok(message.id)
    }

    async fn by_graphql(&self, room: RoomId, write: &Write, op_id: &OpId) -> Result<ItemId, Error> {
        let edit = |item: &ItemId, text: &str| {
            let query = "mutation($room: RoomId!, $message: ItemId!, $input: EditMessage!) {
                written: editMessage(room: $room, message: $message, input: $input) { id } }";
            let input = json!({ "text": text, "opId": op_id });
            (
                query,
                json!({ "room": room, "message": item, "input": input }),
            )
        };
        let (query, variables) = match write {
            Write::Send(text) => (
                "mutation($room: RoomId!, $input: SendMessage!) {
                    written: sendMessage(room: $room, input: $input) { id } }",
                json!({ "room": room, "input": { "text": text, "opId": op_id } }),
            ),
            Write::Edit(item, text) => edit(item, text),
            Write::EditNothing(item) => edit(item, "nothing"),
            Write::Delete(item) => (
                "mutation($room: RoomId!, $message: ItemId!, $input: DeleteMessage) {
                    written: deleteMessage(room: $room, message: $message, input: $input) }",
                json!({ "room": room, "message": item, "input": { "opId": op_id } }),
            ),
        };
        let answer: Value = self.client.query(query, variables).await?;
        match (write, answer["written"]["id"].as_str()) {
            (Write::Delete(item), _) => Ok(*item),
            (_, Some(id)) => id.parse().map_err(|_| Error::Strange(id.to_owned())),
            (_, None) => Err(Error::Strange(answer.to_string())),
        }
    }

    async fn by_socket(&self, room: RoomId, write: &Write, op_id: &OpId) -> Result<ItemId, Error> {
        let socket = self.socket().await?;
        let op_id = Some(op_id.clone());
        let put = |item: &ItemId, text: &str| PutItem {
            room,
            kind: "message".to_owned(),
            item: Some(*item),
            body: json!({ "text": text }),
            op_id: op_id.clone(),
            if_match: None,
        };
        let written = match write {
            Write::Send(text) => {
                let input = SendMessageToRoom {
                    room,
                    text: text.clone(),
                    id: None,
                    op_id,
                };
                let sent = socket.call::<_, Message>("message:send", &input).await;
                sent.map(|message| message.id)
            }
            Write::Edit(item, text) => {
                let event = socket
                    .call::<_, RoomEvent>("item:put", &put(item, text))
                    .await;
                event.map(|event| event.item)
            }
            // A put would create the message; a deletion cannot.
            Write::Delete(item) | Write::EditNothing(item) => {
                let input = DeleteItem {
                    room,
                    item: *item,
                    op_id,
                    if_match: None,
                };
                let event = socket.call::<_, RoomEvent>("item:delete", &input).await;
                event.map(|event| event.item)
            }
        };
        if matches!(written, Err(Error::Disconnected(_) | Error::Late)) {
            self.forget(&socket).await;
        }
        written
    }

    async fn socket(&self) -> Result<Arc<Socket>, Error> {
        let mut socket = self.socket.lock().await;
        if let Some(socket) = &*socket {
            return Ok(Arc::clone(socket));
        }
        let connected = Arc::new(Socket::connect(&self.client).await?);
        *socket = Some(Arc::clone(&connected));
        Ok(connected)
    }

    async fn forget(&self, broken: &Arc<Socket>) {
        let mut socket = self.socket.lock().await;
        if socket
            .as_ref()
            .is_some_and(|socket| Arc::ptr_eq(socket, broken))
        {
            *socket = None;
        }
    }
}
