//! GraphQL over WebSocket: the `graphql-transport-ws` protocol, with its close codes.
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>
//!
//! Each operation runs in a task of its own and waits when the socket is slow, so that its feed is
//! not pulled meanwhile: a slow reader holds one frame for each operation, and no other reader up.

use super::{
    Graphql,
    auth::{Asker, bearer_of},
    error_codes::{RequestId, add_codes, request_error},
    guard,
    http::{Params, was_not_executed},
    protocol::{ClientMessage, Ending, ServerMessage},
};
use crate::{
    app::{Actor, Error},
    transport::{
        ClientAddress,
        arrivals::{ACCOUNT_BYTES_MAX, Arriving, Standing},
        inflow::Overrun,
        socketio::listener::ConnectionHandle,
    },
};
use async_graphql::{Response, ServerError, parser::types::OperationType};
use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    response::Response as HttpResponse,
};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use roost_schema::ErrorCode;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// The connection notices a longer one by its first bytes, and drops the rest.
const MESSAGE_BYTES_MAX: usize = ACCOUNT_BYTES_MAX;
/// It is said again in a pong, which waits for a client that does not read.
const PING_BYTES_MAX: usize = 1_024;
/// As much of what an operation was asked with is not counted: most are smaller, and run for long.
const OPERATION_BYTES_FREE: usize = 4 * 1_024;
/// What is read at one time; each socket holds so much.
const READ_BUFFER_BYTES: usize = 4 * 1_024;
/// Operations of one socket at a time; as many as the rooms of a Socket.IO socket.
const OPERATIONS_PER_SOCKET_MAX: usize = 128;
/// Messages that wait for the socket besides the one each operation holds.
const OUTBOX_MESSAGES: usize = 4;
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(12);
/// Nothing was heard, not even the answer to a ping, or nothing could be written: the client is dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers an upgrade; `asker` is what the HTTP request said of its sender, `wire` the connection it came on.
pub(super) fn open(
    graphql: Graphql,
    upgrade: WebSocketUpgrade,
    (asker, wire): (Asker, ConnectionHandle),
    id: Option<RequestId>,
) -> HttpResponse {
    let tasks = graphql.shared.tasks.clone();
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| tasks.track_future(serve(graphql, socket, (asker, wire), id)))
}

async fn serve(
    graphql: Graphql,
    socket: WebSocket,
    (asker, wire): (Asker, ConnectionHandle),
    id: Option<RequestId>,
) {
    let speaks_protocol = socket.protocol().is_some();
    let closing = graphql.shared.closing.clone();
    let fence = graphql.app.fence().clone();
    let (mut sink, mut stream) = socket.split();
    let (outbox, messages) = mpsc::channel(OUTBOX_MESSAGES);
    let connection = Connection {
        graphql,
        asker,
        wire: wire.clone(),
        id,
        outbox,
        running: Running::default(),
        tasks: JoinSet::new(),
    };
    let ending = if speaks_protocol {
        tokio::select! {
            // Whoever must hear nothing more is let go before anything that waits is said.
            biased;
            () = fence.shut() => Ending::TRY_LATER,
            () = closing.cancelled() => Ending::RESTARTING,
            overrun = wire.overrun() => match overrun {
                Overrun::Full => Ending::TRY_LATER,
                Overrun::TooLong => Ending::BAD_MESSAGE,
            },
            ending = connection.run(&mut stream) => ending,
            ending = write(&mut sink, messages) => ending,
        }
    } else {
        Ending::WRONG_SUBPROTOCOL
    };
    // The client may be gone, or may not answer: it had its time.
    let farewell = async {
        // Refused when the client closed first; its close is answered as the rest is read.
        let _ = sink.send(Message::Close(Some(ending.frame()))).await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(CLOSE_TIMEOUT, farewell).await;
}

/// Writes what operations say, and pings. Only this waits for the socket.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    mut messages: mpsc::Receiver<Utf8Bytes>,
) -> Ending {
    let mut ping = interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            Some(text) = messages.recv() => Message::Text(text),
            _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
        };
        if !matches!(timeout(SILENCE_MAX, sink.send(message)).await, Ok(Ok(()))) {
            return Ending::GONE;
        }
    }
}

/// A message and its length.
async fn next(stream: &mut SplitStream<WebSocket>) -> Result<(ClientMessage, usize), Ending> {
    loop {
        match timeout(SILENCE_MAX, stream.next()).await {
            Ok(Some(Ok(Message::Text(text)))) if text.len() <= MESSAGE_BYTES_MAX => {
                let message = ClientMessage::parse(&text)?;
                let is_ping = matches!(message, ClientMessage::Ping { .. });
                if is_ping && text.len() > PING_BYTES_MAX {
                    return Err(Ending::BAD_MESSAGE);
                }
                return Ok((message, text.len()));
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Text(_) | Message::Binary(_)) | Err(_))) => {
                return Err(Ending::BAD_MESSAGE);
            }
            Ok(Some(Ok(Message::Close(_))) | None) | Err(_) => return Err(Ending::GONE),
        }
    }
}

/// The operations that run, by the client's id.
type Running = Arc<Mutex<HashMap<String, AbortHandle>>>;

struct Connection {
    graphql: Graphql,
    asker: Asker,
    wire: ConnectionHandle,
    id: Option<RequestId>,
    outbox: mpsc::Sender<Utf8Bytes>,
    running: Running,
    /// Dropped with the connection, which ends every operation.
    tasks: JoinSet<()>,
}

impl Connection {
    async fn run(mut self, stream: &mut SplitStream<WebSocket>) -> Ending {
        let actor = match timeout(INIT_TIMEOUT, self.initialise(stream)).await {
            Ok(Ok(actor)) => actor,
            Ok(Err(ending)) => return ending,
            Err(_) => return Ending::INIT_TIMEOUT,
        };
        self.wire.sign_in();
        let app = self.graphql.app.clone();
        let session_end = app.session_end(actor.session_id);
        let lifetime = self.graphql.app.time_left(&actor);
        send(&self.outbox, ServerMessage::ConnectionAck).await;
        tokio::select! {
            biased;
            () = session_end.cancelled() => Ending::REVOKED,
            () = sleep(lifetime) => Ending::EXPIRED,
            ending = self.operate(stream) => ending,
        }
    }

    async fn initialise(&mut self, stream: &mut SplitStream<WebSocket>) -> Result<Actor, Ending> {
        loop {
            match next(stream).await?.0 {
                ClientMessage::ConnectionInit { payload } => {
                    if let Some(token) = payload.as_ref().and_then(token) {
                        self.asker.token = Some(token);
                    }
                    let app = &self.graphql.app;
                    return self.asker.authenticate(app).await.map_err(|error| {
                        tracing::debug!(%error, "a WebSocket was refused");
                        Ending::of_refusal(error.code())
                    });
                }
                ClientMessage::Subscribe { .. } => return Err(Ending::UNAUTHORIZED),
                ClientMessage::Ping { payload } => {
                    send(&self.outbox, ServerMessage::Pong { payload }).await;
                }
                ClientMessage::Pong { .. } | ClientMessage::Complete { .. } => {}
            }
        }
    }

    async fn operate(&mut self, stream: &mut SplitStream<WebSocket>) -> Ending {
        loop {
            let outcome = match next(stream).await {
                Ok((ClientMessage::Subscribe { id, payload }, bytes)) => {
                    self.subscribe(id, payload, bytes).await
                }
                Ok((ClientMessage::Complete { id }, _)) => {
                    if let Some(operation) = lock(&self.running).remove(&id) {
                        operation.abort();
                    }
                    Ok(())
                }
                Ok((ClientMessage::Ping { payload }, _)) => {
                    send(&self.outbox, ServerMessage::Pong { payload }).await;
                    Ok(())
                }
                Ok((ClientMessage::Pong { .. }, _)) => Ok(()),
                Ok((ClientMessage::ConnectionInit { .. }, _)) => Err(Ending::SECOND_INIT),
                Err(ending) => Err(ending),
            };
            if let Err(ending) = outcome {
                return ending;
            }
        }
    }

    async fn subscribe(&mut self, id: String, params: Params, bytes: usize) -> Result<(), Ending> {
        while self.tasks.try_join_next().is_some() {}
        if lock(&self.running).contains_key(&id) {
            return Err(Ending::DUPLICATE_ID);
        }
        let arrivals = &self.graphql.shared.arrivals;
        let mut kept = arrivals.begin(self.asker.origin.address, Standing::Account);
        let room = kept.hold(bytes.saturating_sub(OPERATION_BYTES_FREE));
        let operation = Operation {
            _kept: kept,
            id: id.clone(),
            graphql: self.graphql.clone(),
            asker: self.asker.clone(),
            request_id: self.id.clone(),
            outbox: self.outbox.clone(),
            running: Arc::clone(&self.running),
        };
        let room = room.map_err(request_error);
        if let Err(error) = self.admit().await.and(room) {
            operation.fail(vec![error]).await;
            return Ok(());
        }
        // Locked until the operation is noted, so that one that ends at once is not noted for ever.
        let mut running = lock(&self.running);
        let handle = self.tasks.spawn(operation.run(params));
        running.insert(id, handle);
        Ok(())
    }

    /// An operation counts as a request of the address, and a socket runs so many at a time.
    async fn admit(&self) -> Result<(), ServerError> {
        if lock(&self.running).len() >= OPERATIONS_PER_SOCKET_MAX {
            return Err(request_error(Error::refused(
                ErrorCode::LimitReached,
                "a socket runs at most 128 operations at a time",
            )));
        }
        let address = ClientAddress(self.asker.origin.address);
        let limits = &self.graphql.shared.limits;
        limits.check_address(address).await.map_err(request_error)
    }
}

/// The token in `connection_init`, as `{"Authorization": "Bearer …"}`.
fn token(payload: &Map<String, Value>) -> Option<String> {
    let mut members = payload.iter();
    let (_, value) = members.find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    bearer_of(value.as_str()?)
}

struct Operation {
    /// What it was asked with stays as long as it runs, and so counts as long.
    _kept: Arriving,
    id: String,
    graphql: Graphql,
    asker: Asker,
    request_id: Option<RequestId>,
    outbox: mpsc::Sender<Utf8Bytes>,
    running: Running,
}

impl Operation {
    async fn run(self, params: Params) {
        let asker = self.asker.clone();
        let mut request = params.into_request(&self.graphql, asker, self.request_id.clone());
        let is_subscription = match guard::check(&mut request) {
            Ok(kind) => kind == Some(OperationType::Subscription),
            Err(error) => return self.fail(vec![error]).await,
        };
        let mut responses = self.graphql.schema.execute_stream(request);
        while let Some(response) = responses.next().await {
            if was_not_executed(&response) || (is_subscription && !response.errors.is_empty()) {
                return self.fail(response.errors).await;
            }
            self.next(&response).await;
        }
        self.forget();
        send(&self.outbox, ServerMessage::Complete { id: &self.id }).await;
    }

    async fn next(&self, payload: &Response) {
        let id = &self.id;
        send(&self.outbox, ServerMessage::Next { id, payload }).await;
    }

    /// Ends the operation with an error; nothing follows it.
    async fn fail(&self, mut errors: Vec<ServerError>) {
        add_codes(&mut errors, self.request_id.as_ref());
        self.forget();
        let (id, payload) = (&self.id, &errors);
        send(&self.outbox, ServerMessage::Error { id, payload }).await;
    }

    /// Frees the id before the client hears that it is free. A later operation of the same id, begun
    /// after the client completed this one, is left alone.
    fn forget(&self) {
        let mut running = lock(&self.running);
        let own = tokio::task::try_id();
        if running.get(&self.id).map(AbortHandle::id) == own {
            running.remove(&self.id);
        }
    }
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the socket. When it is gone, its operations are ended from outside.
async fn send(outbox: &mpsc::Sender<Utf8Bytes>, message: ServerMessage<'_>) {
    match serde_json::to_string(&message) {
        Ok(text) => {
            let _ = outbox.send(text.into()).await;
        }
        Err(error) => tracing::error!(%error, "a GraphQL message cannot be encoded"),
    }
}
