//! GraphQL over WebSocket: the `graphql-transport-ws` protocol, with its close codes.
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>
//!
//! Each operation runs in a task of its own. While the socket is slow the task waits and does not pull its feed: a slow
//! reader holds one frame for each operation, and delays no other reader.

use super::{
    Graphql,
    auth::{Asker, token_of},
    error_codes::{RequestId, request_error},
    frames::{MESSAGE_BYTES_MAX, WriteFailed, next, write},
    http::Params,
    operation::{Ends, GraphqlOperation, MessageClass, MessageSender, Messages, Running},
    protocol::{ClientMessage, Ending, ServerMessage},
};
use crate::{
    app::{Actor, Error},
    transport::{
        ClientAddress, FAREWELL_PATIENCE, WEBSOCKET_READ_BYTES, answers_patience, arrivals::Sender,
        socketio::listener::ConnectionHandle,
    },
};
use async_graphql::ServerError;
use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response as HttpResponse,
};
use futures::{
    FutureExt, SinkExt, StreamExt, future,
    stream::{SplitSink, SplitStream},
};
use roost_schema::ErrorCode;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// So many bytes of the message that began an operation are not counted as arriving: most are smaller, and run for
/// long.
const OPERATION_BYTES_FREE: usize = 4 * 1_024;
/// Operations of one socket at a time; as many as the rooms of a Socket.IO socket.
const OPERATIONS_PER_SOCKET_MAX: usize = 128;
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers an upgrade. `asker`: the sender as the HTTP request names them. `handle`: the connection it came on.
pub(super) fn open(
    graphql: Graphql,
    upgrade: WebSocketUpgrade,
    (asker, handle): (Asker, ConnectionHandle),
    id: Option<RequestId>,
) -> HttpResponse {
    let tasks = graphql.shared.tasks.clone();
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(WEBSOCKET_READ_BYTES)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| tasks.track_future(serve(graphql, socket, (asker, handle), id)))
}

async fn serve(
    graphql: Graphql,
    socket: WebSocket,
    (asker, handle): (Asker, ConnectionHandle),
    id: Option<RequestId>,
) {
    // A stopping server waits for this token.
    let _token = graphql.shared.web_sockets.token();
    let speaks_protocol = socket.protocol().is_some();
    let (mut sink, mut stream) = socket.split();
    let (sender, messages) = MessageSender::new(graphql.app.fence().clone());
    let connection = GraphqlConnection {
        graphql,
        asker,
        handle,
        id,
        sender,
        running: Running::default(),
        ends: Ends::default(),
        tasks: JoinSet::new(),
    };
    let ending = if speaks_protocol {
        converse(connection, &mut sink, &mut stream, messages).await
    } else {
        Some(Ending::WRONG_SUBPROTOCOL)
    };
    let Some(ending) = ending else { return };
    // The client may be gone, or may not answer: the timeout ends the wait.
    let farewell = async {
        // The send fails when the client closed first; reading the rest answers its close.
        let _ = sink.send(Message::Close(Some(ending.frame()))).await;
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(CLOSE_TIMEOUT, farewell).await;
}

/// Serves the socket until it is to be closed; returns the close code. `None`: some operation was not answered, so the
/// socket is cut, because a close code would mean that all were.
async fn converse(
    connection: GraphqlConnection,
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    messages: Messages,
) -> Option<Ending> {
    let mut writing = pin!(write(sink, messages));
    let ending = tokio::select! {
        // A connection that ends comes before messages that wait: a revoked session must receive none of them.
        biased;
        ending = connection.run(stream) => ending?,
        _ = &mut writing => return Some(Ending::GONE),
    };
    if !ending.follows_answers() {
        return Some(ending);
    }
    // No message is added any more: `writing` ends when all are written.
    match timeout(FAREWELL_PATIENCE, writing).await {
        Ok(Ok(())) => Some(ending),
        Ok(Err(WriteFailed)) | Err(_) => None,
    }
}

/// Resolves when this server closes its sockets, so that clients connect to another instance.
async fn server_closing(graphql: &Graphql) -> Ending {
    tokio::select! {
        biased;
        () = graphql.app.fence().shut() => Ending::TRY_LATER,
        () = graphql.shared.closing.cancelled() => Ending::RESTARTING,
    }
}

struct GraphqlConnection {
    graphql: Graphql,
    asker: Asker,
    handle: ConnectionHandle,
    id: Option<RequestId>,
    sender: MessageSender,
    running: Running,
    ends: Ends,
    /// Dropped with the connection, which ends every operation.
    tasks: JoinSet<()>,
}

impl GraphqlConnection {
    /// Serves the socket; returns its close code. `None`: it is cut, because some operation was not answered.
    async fn run(mut self, stream: &mut SplitStream<WebSocket>) -> Option<Ending> {
        let (graphql, handle) = (self.graphql.clone(), self.handle.clone());
        let admitted = tokio::select! {
            biased;
            ending = server_closing(&graphql) => return Some(ending),
            overrun = handle.overrun() => return Some(Ending::of_overrun(overrun)),
            admitted = timeout(INIT_TIMEOUT, self.initialise(stream)) => admitted,
        };
        let actor = match admitted {
            Ok(Ok(actor)) => actor,
            Ok(Err(ending)) => return Some(ending),
            Err(_) => return Some(Ending::INIT_TIMEOUT),
        };
        handle.sign_in();
        let session_end = graphql.app.session_end(actor.session_id);
        let lifetime = graphql.app.time_left(&actor);
        let conversing = async {
            self.sender
                .send(MessageClass::Own, ServerMessage::ConnectionAck)
                .await;
            let ended = async {
                tokio::select! {
                    biased;
                    ending = server_closing(&graphql) => ending,
                    () = sleep(lifetime) => Ending::EXPIRED,
                }
            };
            match self.operate(stream, ended.shared()).await {
                Ok(ending) => self.give_answers(stream, ending).await.then_some(ending),
                Err(ending) => Some(ending),
            }
        };
        tokio::select! {
            biased;
            () = session_end.cancelled() => Some(Ending::REVOKED),
            overrun = handle.overrun() => Some(Ending::of_overrun(overrun)),
            ending = conversing => ending,
        }
    }

    /// Ends the feeds, refuses new operations, and waits for the answers of those that run. `false`: some were not
    /// given.
    async fn give_answers(&mut self, stream: &mut SplitStream<WebSocket>, ending: Ending) -> bool {
        self.ends.feeds.cancel();
        let patience = answers_patience(self.graphql.app.fence());
        let (ends, tasks) = (&self.ends, &mut self.tasks);
        let answered = async {
            let all = async { while tasks.join_next().await.is_some() {} };
            let mut all = pin!(all);
            if timeout(patience, &mut all).await.is_err() {
                // The answers need no outcome any more, only to be sent; a client that does not read misses them.
                ends.answers.cancel();
                return timeout(FAREWELL_PATIENCE, all).await.is_ok();
            }
            true
        };
        let refusing = refuse(stream, &self.sender, self.id.as_ref(), ending);
        tokio::select! {
            has_all = answered => has_all,
            () = refusing => false,
        }
    }

    async fn initialise(&mut self, stream: &mut SplitStream<WebSocket>) -> Result<Actor, Ending> {
        loop {
            match next(stream).await?.0 {
                ClientMessage::ConnectionInit { payload } => {
                    if let Some(token) = payload.as_ref().and_then(token_of) {
                        self.asker.token = Some(token);
                    }
                    let app = &self.graphql.app;
                    return self.asker.authenticate(app).map_err(|error| {
                        tracing::debug!(%error, "a WebSocket was refused");
                        Ending::of_refusal(error.code())
                    });
                }
                ClientMessage::Subscribe { .. } => return Err(Ending::UNAUTHORIZED),
                ClientMessage::Ping { payload } => {
                    self.sender
                        .send(MessageClass::Own, ServerMessage::Pong { payload })
                        .await;
                }
                ClientMessage::Pong { .. } | ClientMessage::Complete { .. } => {}
            }
        }
    }

    /// Begins the client's operations until `ended` resolves. A message that was read by then is still handled: else it
    /// would be neither answered nor refused. An error: the client broke the protocol, or left.
    async fn operate(
        &mut self,
        stream: &mut SplitStream<WebSocket>,
        ended: future::Shared<impl Future<Output = Ending>>,
    ) -> Result<Ending, Ending> {
        let fence = self.graphql.app.fence().clone();
        loop {
            let message = tokio::select! {
                biased;
                ending = ended.clone() => return Ok(ending),
                message = next(stream) => message?,
            };
            let late = async {
                let ending = ended.clone().await;
                // Only a client that does not read keeps `handle_message` waiting for so long.
                sleep(answers_patience(&fence)).await;
                ending
            };
            tokio::select! {
                handled = self.handle_message(message) => handled?,
                ending = late => return Ok(ending),
            }
        }
    }

    async fn handle_message(
        &mut self,
        (message, bytes): (ClientMessage, usize),
    ) -> Result<(), Ending> {
        match message {
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, payload, bytes).await,
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.running.lock().remove(&id) {
                    operation.abort();
                }
                Ok(())
            }
            ClientMessage::Ping { payload } => {
                self.sender
                    .send(MessageClass::Own, ServerMessage::Pong { payload })
                    .await;
                Ok(())
            }
            ClientMessage::Pong { .. } => Ok(()),
            ClientMessage::ConnectionInit { .. } => Err(Ending::SECOND_INIT),
        }
    }

    async fn subscribe(&mut self, id: String, params: Params, bytes: usize) -> Result<(), Ending> {
        while self.tasks.try_join_next().is_some() {}
        if self.running.lock().contains_key(&id) {
            return Err(Ending::DUPLICATE_ID);
        }
        let arrivals = &self.graphql.shared.arrivals;
        let mut kept = arrivals.begin(self.asker.origin.address, Sender::Account);
        let room = kept.hold(bytes.saturating_sub(OPERATION_BYTES_FREE));
        let operation = GraphqlOperation {
            _kept: kept,
            id: id.clone(),
            graphql: self.graphql.clone(),
            asker: self.asker.clone(),
            request_id: self.id.clone(),
            sender: self.sender.clone(),
            running: Arc::clone(&self.running),
            ends: self.ends.clone(),
        };
        let room = room.map_err(request_error);
        if let Err(error) = self.admit().await.and(room) {
            operation.fail(vec![error]).await;
            return Ok(());
        }
        // Locked until the operation is listed: one that ends at once could else be listed after its end, for ever.
        let mut running = self.running.lock();
        let handle = self.tasks.spawn(operation.run(params));
        running.insert(id, handle);
        Ok(())
    }

    /// Counts an operation as a request of the address, and checks the bound on operations of a socket.
    async fn admit(&self) -> Result<(), ServerError> {
        if self.running.lock().len() >= OPERATIONS_PER_SOCKET_MAX {
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

/// Refuses new operations on a socket that is being closed. Ends when the client closes or sends nothing.
async fn refuse(
    stream: &mut SplitStream<WebSocket>,
    sender: &MessageSender,
    request_id: Option<&RequestId>,
    ending: Ending,
) {
    loop {
        match next(stream).await {
            Ok((ClientMessage::Subscribe { id, .. }, _)) => {
                let errors = vec![request_error(ending.refusal())];
                sender.fail(&id, errors, request_id).await;
            }
            Ok((ClientMessage::Ping { payload }, _)) => {
                sender
                    .send(MessageClass::Own, ServerMessage::Pong { payload })
                    .await;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
