//! One operation of a GraphQL WebSocket, and the queue of its messages to the socket.

use super::{
    Graphql,
    auth::Asker,
    error_codes::{RequestId, add_codes, request_error},
    guard,
    http::{Params, was_not_executed},
    protocol::ServerMessage,
};
use crate::{
    app::FENCED,
    live::Fence,
    transport::{arrivals::Arriving, cut_short},
};
use async_graphql::{Request, Response, ServerError, parser::types::OperationType};
use axum::extract::ws::Utf8Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_util::{future::FutureExt, sync::CancellationToken};

/// Messages in the queue of a socket, besides the one each operation holds.
const WAITING_MESSAGES_MAX: usize = 4;

/// The class of a message decides whether the fence holds it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageClass {
    /// Data that was read. It is not sent while the fence is shut.
    Read,
    /// The outcome of the client's own write, or a message about the connection.
    Own,
}

/// Queues messages for one socket.
#[derive(Clone)]
pub(super) struct MessageSender(mpsc::Sender<(MessageClass, Utf8Bytes)>);

/// The queue of one socket.
pub(super) struct Messages {
    waiting: mpsc::Receiver<(MessageClass, Utf8Bytes)>,
    fence: Fence,
}

impl MessageSender {
    pub(super) fn new(fence: Fence) -> (Self, Messages) {
        let (sender, waiting) = mpsc::channel(WAITING_MESSAGES_MAX);
        (Self(sender), Messages { waiting, fence })
    }

    /// Waits for room in the queue. A message for a socket that has ended is dropped: its connection ends the
    /// operations.
    pub(super) async fn send(&self, class: MessageClass, message: ServerMessage<'_>) {
        match serde_json::to_string(&message) {
            Ok(text) => {
                let _ = self.0.send((class, text.into())).await;
            }
            Err(error) => tracing::error!(%error, "a GraphQL message cannot be encoded"),
        }
    }

    /// Refuses an operation, or ends it with errors. No message of the operation may follow.
    pub(super) async fn fail(
        &self,
        id: &str,
        mut errors: Vec<ServerError>,
        request_id: Option<&RequestId>,
    ) {
        add_codes(&mut errors, request_id);
        let payload = &errors;
        self.send(MessageClass::Own, ServerMessage::Error { id, payload })
            .await;
    }
}

impl Messages {
    /// The next message that may be sent; `None` when every sender was dropped.
    pub(super) async fn next(&mut self) -> Option<Utf8Bytes> {
        loop {
            let (class, text) = self.waiting.recv().await?;
            if class == MessageClass::Own || !self.fence.is_shut() {
                return Some(text);
            }
        }
    }
}

/// The running operations, by the client's id.
pub(super) type Running = Arc<Mutex<HashMap<String, AbortHandle>>>;

/// Ends the operations of a socket that is being closed.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// Cancelled when feeds end.
    pub(super) feeds: CancellationToken,
    /// Cancelled when pending mutations are answered `outcome_unknown`, because their outcome takes too long.
    pub(super) answers: CancellationToken,
}

pub(super) struct GraphqlOperation {
    /// Counts the operation's document and variables, which stay in memory as long as it runs.
    pub(super) _kept: Arriving,
    pub(super) id: String,
    pub(super) graphql: Graphql,
    pub(super) asker: Asker,
    pub(super) request_id: Option<RequestId>,
    pub(super) sender: MessageSender,
    pub(super) running: Running,
    pub(super) ends: Ends,
}

impl GraphqlOperation {
    pub(super) async fn run(self, params: Params) {
        let asker = self.asker.clone();
        let mut request = params.into_request(&self.graphql, asker, self.request_id.clone());
        match guard::check(&mut request) {
            Ok(Some(OperationType::Subscription)) => {
                // A feed that is cancelled sends no `complete`: its client would take that for the end of the changes.
                let following = self.follow(request);
                following.with_cancellation_token(&self.ends.feeds).await;
            }
            Ok(Some(OperationType::Mutation)) => self.answer(request, MessageClass::Own).await,
            Ok(_) => self.answer(request, MessageClass::Read).await,
            Err(error) => self.fail(vec![error]).await,
        }
    }

    async fn follow(&self, request: Request) {
        let mut responses = self.graphql.schema.execute_stream(request);
        while let Some(response) = responses.next().await {
            if !response.errors.is_empty() {
                return self.fail(response.errors).await;
            }
            self.next(MessageClass::Read, &response).await;
        }
        self.complete().await;
    }

    async fn answer(&self, request: Request, class: MessageClass) {
        let executing = self.graphql.schema.execute(request);
        let executing = executing.with_cancellation_token(&self.ends.answers);
        let Some(response) = executing.await else {
            return self.fail(vec![request_error(cut_short())]).await;
        };
        if was_not_executed(&response) {
            return self.fail(response.errors).await;
        }
        // The response was read before the fence was shut; its reader may have lost the right to it since.
        if class == MessageClass::Read && self.graphql.app.fence().is_shut() {
            return self.fail(vec![request_error(FENCED)]).await;
        }
        self.next(class, &response).await;
        self.complete().await;
    }

    async fn next(&self, class: MessageClass, payload: &Response) {
        let id = &self.id;
        self.sender
            .send(class, ServerMessage::Next { id, payload })
            .await;
    }

    async fn complete(&self) {
        self.forget();
        let id = &self.id;
        self.sender
            .send(MessageClass::Own, ServerMessage::Complete { id })
            .await;
    }

    pub(super) async fn fail(&self, errors: Vec<ServerError>) {
        self.forget();
        self.sender
            .fail(&self.id, errors, self.request_id.as_ref())
            .await;
    }

    /// Frees the id, before a message to the client says so. A later operation of the same id, begun after the client
    /// completed this one, stays.
    fn forget(&self) {
        let mut running = self.running.lock();
        let own = tokio::task::try_id();
        if running.get(&self.id).map(AbortHandle::id) == own {
            running.remove(&self.id);
        }
    }
}
