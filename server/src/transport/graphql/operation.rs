//! One operation of a GraphQL WebSocket, and the way of its messages to the socket.

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

/// Messages that wait for the socket besides the one each operation holds.
const OUTBOX_MESSAGES: usize = 4;

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What others did. Nobody hears of it behind the fence.
    Read,
    /// What became of the client's own write, or of the connection.
    Own,
}

/// Says messages to one socket.
#[derive(Clone)]
pub(super) struct Outbox(mpsc::Sender<(Class, Utf8Bytes)>);

/// The messages that wait for one socket.
pub(super) struct Messages {
    waiting: mpsc::Receiver<(Class, Utf8Bytes)>,
    fence: Fence,
}

impl Outbox {
    pub(super) fn new(fence: Fence) -> (Self, Messages) {
        let (outbox, waiting) = mpsc::channel(OUTBOX_MESSAGES);
        (Self(outbox), Messages { waiting, fence })
    }

    /// Waits for the socket. When it is gone, its operations are ended from outside.
    pub(super) async fn say(&self, class: Class, message: ServerMessage<'_>) {
        match serde_json::to_string(&message) {
            Ok(text) => {
                let _ = self.0.send((class, text.into())).await;
            }
            Err(error) => tracing::error!(%error, "a GraphQL message cannot be encoded"),
        }
    }

    /// Refuses an operation, or ends it; nothing follows it.
    pub(super) async fn fail(
        &self,
        id: &str,
        mut errors: Vec<ServerError>,
        request_id: Option<&RequestId>,
    ) {
        add_codes(&mut errors, request_id);
        let payload = &errors;
        self.say(Class::Own, ServerMessage::Error { id, payload })
            .await;
    }
}

impl Messages {
    /// The next message that may be said; `None` when there will be none any more.
    pub(super) async fn next(&mut self) -> Option<Utf8Bytes> {
        loop {
            let (class, text) = self.waiting.recv().await?;
            if class == Class::Own || !self.fence.is_shut() {
                return Some(text);
            }
        }
    }
}

/// The operations that run, by the client's id.
pub(super) type Running = Arc<Mutex<HashMap<String, AbortHandle>>>;

/// How the operations of a socket end that is to be closed.
#[derive(Clone, Default)]
pub(super) struct Ends {
    /// Cancelled when feeds end.
    pub(super) feeds: CancellationToken,
    /// Cancelled when what is not answered yet is answered without its outcome.
    pub(super) answers: CancellationToken,
}

pub(super) struct Operation {
    /// What it was asked with stays as long as it runs, and so counts as long.
    pub(super) _kept: Arriving,
    pub(super) id: String,
    pub(super) graphql: Graphql,
    pub(super) asker: Asker,
    pub(super) request_id: Option<RequestId>,
    pub(super) outbox: Outbox,
    pub(super) running: Running,
    pub(super) ends: Ends,
}

impl Operation {
    pub(super) async fn run(self, params: Params) {
        let asker = self.asker.clone();
        let mut request = params.into_request(&self.graphql, asker, self.request_id.clone());
        match guard::check(&mut request) {
            Ok(Some(OperationType::Subscription)) => {
                // A feed that is ended here says no more: a client takes `complete` for the end of what there is.
                let following = self.follow(request);
                following.with_cancellation_token(&self.ends.feeds).await;
            }
            Ok(Some(OperationType::Mutation)) => self.answer(request, Class::Own).await,
            Ok(_) => self.answer(request, Class::Read).await,
            Err(error) => self.fail(vec![error]).await,
        }
    }

    async fn follow(&self, request: Request) {
        let mut responses = self.graphql.schema.execute_stream(request);
        while let Some(response) = responses.next().await {
            if !response.errors.is_empty() {
                return self.fail(response.errors).await;
            }
            self.next(Class::Read, &response).await;
        }
        self.complete().await;
    }

    async fn answer(&self, request: Request, class: Class) {
        let executing = self.graphql.schema.execute(request);
        let executing = executing.with_cancellation_token(&self.ends.answers);
        let Some(response) = executing.await else {
            return self.fail(vec![request_error(cut_short())]).await;
        };
        if was_not_executed(&response) {
            return self.fail(response.errors).await;
        }
        // What was read before this process slept may not be for who asked any more.
        if class == Class::Read && self.graphql.app.fence().is_shut() {
            return self.fail(vec![request_error(FENCED)]).await;
        }
        self.next(class, &response).await;
        self.complete().await;
    }

    async fn next(&self, class: Class, payload: &Response) {
        let id = &self.id;
        self.outbox
            .say(class, ServerMessage::Next { id, payload })
            .await;
    }

    async fn complete(&self) {
        self.forget();
        let id = &self.id;
        self.outbox
            .say(Class::Own, ServerMessage::Complete { id })
            .await;
    }

    pub(super) async fn fail(&self, errors: Vec<ServerError>) {
        self.forget();
        self.outbox
            .fail(&self.id, errors, self.request_id.as_ref())
            .await;
    }

    /// Frees the id before the client hears that it is free. A later operation of the same id, begun
    /// after the client completed this one, is left alone.
    fn forget(&self) {
        let mut running = self.running.lock();
        let own = tokio::task::try_id();
        if running.get(&self.id).map(AbortHandle::id) == own {
            running.remove(&self.id);
        }
    }
}
