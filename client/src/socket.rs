//! A client of Socket.IO 5 on Engine.IO 4 over WebSocket (<https://socket.io/docs/v4/socket-io-protocol/>).

use crate::{
    Client, Error, Result,
    endpoint::WebSocket,
    packet::{self, PONG, Packet},
};
use futures::{SinkExt, StreamExt};
use roost_schema::{
    BatchItems, BatchOutcome, DeleteItem, ErrorCode, Failure, InRoom, JoinRoom, JoinedRoom,
    Message, PatchItem, Position, PutItem, RestoreItem, RoomEvent, RoomId, SendMessageToRoom,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::Message as Frame;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(20);

/// An event of the server, which is no answer to a command.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub payload: Value,
}

impl Event {
    /// Reads the payload as the type that belongs to the event's name.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.payload).map_err(Error::strange)
    }
}

/// A connected socket. When it is dropped, the connection is cut.
pub struct Socket {
    commands: mpsc::UnboundedSender<Command>,
    events: mpsc::UnboundedReceiver<Event>,
    _task: JoinSet<()>,
}

struct Command {
    event: &'static str,
    payload: Value,
    answer: oneshot::Sender<Result<Value>>,
}

impl Socket {
    /// Connects and signs in.
    pub async fn connect(client: &Client) -> Result<Self> {
        let token = client.access_token().await?;
        Self::connect_with(client, &json!({ "token": token.expose() })).await
    }

    /// Connects with an `auth` object that the caller makes.
    pub async fn connect_with(client: &Client, auth: &Value) -> Result<Self> {
        let open = async {
            let path = "/socket.io/?EIO=4&transport=websocket";
            let mut socket = client.endpoint().web_socket(path, None).await?;
            let opened = text(&mut socket).await?;
            let Some(Packet::Open(handshake)) = Packet::read(&opened) else {
                return Err(Error::strange(opened));
            };
            let opened: EngineHandshake =
                serde_json::from_str(handshake).map_err(Error::strange)?;
            let connect = packet::connect(auth).map_err(Error::strange)?;
            socket.send(Frame::text(connect)).await?;
            let silence_max = Duration::from_millis(opened.ping_interval + opened.ping_timeout);
            admitted(&mut socket).await?;
            Ok::<_, Error>((socket, silence_max))
        };
        let (socket, silence_max) = timeout(CONNECT_TIMEOUT, open)
            .await
            .map_err(|_| Error::Late)??;
        let (commands, queue) = mpsc::unbounded_channel();
        let (events_in, events) = mpsc::unbounded_channel();
        let connection = SocketTask {
            socket,
            queue,
            events: events_in,
            waiting: HashMap::new(),
            next_id: 0,
            silence_max,
        };
        let mut task = JoinSet::new();
        task.spawn(connection.run());
        Ok(Self {
            commands,
            events,
            _task: task,
        })
    }

    /// Sends a command, at once and in the order of the calls; await the answer for its view.
    pub fn call<Input: Serialize, View: DeserializeOwned>(
        &self,
        event: &'static str,
        payload: &Input,
    ) -> impl Future<Output = Result<View>> + Send + use<Input, View> {
        let (answer, answered) = oneshot::channel();
        let sent = serde_json::to_value(payload)
            .map_err(Error::strange)
            .and_then(|payload| {
                let command = Command {
                    event,
                    payload,
                    answer,
                };
                self.commands
                    .send(command)
                    .map_err(|_| Error::disconnected("the socket is closed"))
            });
        async move {
            sent?;
            let answer = timeout(ACKNOWLEDGE_TIMEOUT, answered)
                .await
                .map_err(|_| Error::Late)?
                .map_err(|_| Error::disconnected("the socket closed before the answer"))??;
            serde_json::from_value(answer).map_err(Error::strange)
        }
    }

    /// The next event of the server; `None` when the connection has ended.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Joins a room: its `room:events` follow, after a position or from now on.
    pub async fn join(&self, room: RoomId, after: Option<Position>) -> Result<JoinedRoom> {
        self.call("room:join", &JoinRoom { room, after }).await
    }

    pub async fn leave(&self, room: RoomId) -> Result<InRoom> {
        self.call("room:leave", &InRoom { room }).await
    }

    pub async fn send_message(&self, input: &SendMessageToRoom) -> Result<Message> {
        self.call("message:send", input).await
    }

    pub async fn put_item(&self, input: &PutItem) -> Result<RoomEvent> {
        self.call("item:put", input).await
    }

    pub async fn patch_item(&self, input: &PatchItem) -> Result<RoomEvent> {
        self.call("item:patch", input).await
    }

    pub async fn delete_item(&self, input: &DeleteItem) -> Result<RoomEvent> {
        self.call("item:delete", input).await
    }

    pub async fn restore_item(&self, input: &RestoreItem) -> Result<RoomEvent> {
        self.call("item:restore", input).await
    }

    pub async fn change_items(&self, input: &BatchItems) -> Result<BatchOutcome> {
        self.call("item:batch", input).await
    }
}

/// The `0` packet of Engine.IO; times in milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EngineHandshake {
    ping_interval: u64,
    ping_timeout: u64,
}

/// Waits for the answer to the namespace's CONNECT.
async fn admitted(socket: &mut WebSocket) -> Result<()> {
    loop {
        let frame = text(socket).await?;
        match Packet::read(&frame) {
            Some(Packet::Ping) => socket.send(Frame::text(PONG)).await?,
            Some(Packet::Connected(_)) => return Ok(()),
            Some(Packet::ConnectError(refusal)) => return Err(refused(refusal)),
            _ => return Err(Error::strange(frame)),
        }
    }
}

/// A `connect_error` carries one message; the server writes its failure into it as JSON.
fn refused(refusal: &str) -> Error {
    #[derive(Deserialize)]
    struct ConnectError {
        message: String,
    }
    let failure = serde_json::from_str::<ConnectError>(refusal)
        .ok()
        .and_then(|refusal| serde_json::from_str::<Failure>(&refusal.message).ok());
    failure.map_or_else(|| Error::strange(refusal), Error::Refused)
}

async fn text(socket: &mut WebSocket) -> Result<String> {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Frame::Close(_))) | None => return Err(Error::disconnected("closed")),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

/// The task of a connection: it writes commands, and distributes answers and events.
struct SocketTask {
    socket: WebSocket,
    queue: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
    waiting: HashMap<u64, oneshot::Sender<Result<Value>>>,
    next_id: u64,
    /// The server pings; when it is silent for longer than this, the connection is dead.
    silence_max: Duration,
}

impl SocketTask {
    async fn run(mut self) {
        let end = loop {
            let deadline = Instant::now() + self.silence_max;
            let done = tokio::select! {
                command = self.queue.recv() => match command {
                    Some(command) => self.send(command).await,
                    None => break Error::disconnected("dropped"),
                },
                packet = timeout_at(deadline, text(&mut self.socket)) => match packet {
                    Ok(Ok(packet)) => self.receive(&packet).await,
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(Error::disconnected("the server is silent")),
                },
            };
            if let Err(error) = done {
                break error;
            }
        };
        tracing::debug!(%end, "socket closed");
    }

    async fn send(&mut self, command: Command) -> Result<()> {
        self.next_id += 1;
        let event = packet::event(Some(self.next_id), command.event, &command.payload);
        let event = event.map_err(Error::strange)?;
        self.waiting.insert(self.next_id, command.answer);
        Ok(self.socket.send(Frame::text(event)).await?)
    }

    async fn receive(&mut self, frame: &str) -> Result<()> {
        match Packet::read(frame) {
            Some(Packet::Ping) => Ok(self.socket.send(Frame::text(PONG)).await?),
            Some(Packet::Event { name, payload }) => {
                let event = Event {
                    name: name.to_owned(),
                    payload: serde_json::from_str(payload).map_err(Error::strange)?,
                };
                // An error means that no caller reads events any more. The connection stays, for the answers.
                let _ = self.events.send(event);
                Ok(())
            }
            Some(Packet::Ack { id, payload }) => self.answer(id, payload),
            Some(Packet::Disconnect | Packet::Close) => {
                Err(Error::disconnected("the server closed the socket"))
            }
            _ => Ok(()),
        }
    }

    fn answer(&mut self, id: u64, view: &str) -> Result<()> {
        let view: Value = serde_json::from_str(view).map_err(Error::strange)?;
        let result = match failure(&view) {
            Some(failure) => Err(Error::Refused(failure)),
            None => Ok(view),
        };
        if let Some(waiting) = self.waiting.remove(&id) {
            // An error means that the caller no longer waits for the answer.
            let _ = waiting.send(result);
        }
        Ok(())
    }
}

fn failure(view: &Value) -> Option<Failure> {
    let error = view.get("error")?;
    Failure::deserialize(error).ok().or_else(|| {
        Some(Failure {
            code: ErrorCode::Internal,
            message: error.to_string(),
            retry_after_ms: None,
        })
    })
}
