//! Runs queries and mutations over one `graphql-transport-ws` connection, any number at a time.

use crate::{
    Client, Error, Result,
    graphql::{Message, Subscription, first},
};
use futures::SinkExt;
use roost_schema::Failure;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message as Frame;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connected socket. When it is dropped, the connection is cut.
pub struct GraphQlSocket {
    operations: mpsc::UnboundedSender<PendingOperation>,
    /// Why the server closed, if it gave a reason: then it began no operation that it did not answer.
    end: Arc<OnceLock<Failure>>,
    _task: JoinSet<()>,
}

struct PendingOperation {
    payload: Value,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Value>>;

impl GraphQlSocket {
    /// Connects and signs in.
    pub async fn connect(client: &Client) -> Result<Self> {
        let socket = client.open_graphql().await?;
        let (operations, queue) = mpsc::unbounded_channel();
        let end = Arc::new(OnceLock::new());
        let connection = GraphQlTask {
            end: Arc::clone(&end),
            socket,
            queue,
            waiting: HashMap::new(),
            next_id: 0,
        };
        let mut task = JoinSet::new();
        task.spawn(connection.run());
        Ok(Self {
            operations,
            end,
            _task: task,
        })
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.operations.is_closed()
    }

    /// Sends a query or a mutation, at once and in the order of the calls; await the answer for its `data`.
    ///
    /// Errors: `unavailable` when the server sent the socket elsewhere before it began the operation.
    pub fn run<Variables: Serialize, T: DeserializeOwned>(
        &self,
        query: &str,
        variables: &Variables,
    ) -> impl Future<Output = Result<T>> + Send + use<Variables, T> {
        let (answer, answered) = oneshot::channel();
        let payload = json!({ "query": query, "variables": json!(variables) });
        let sent = self.operations.send(PendingOperation { payload, answer });
        let end = Arc::clone(&self.end);
        async move {
            sent.map_err(|_| ended(&end))?;
            let data = timeout(ANSWER_TIMEOUT, answered)
                .await
                .map_err(|_| Error::Late)?
                .map_err(|_| ended(&end))??;
            serde_json::from_value(data).map_err(Error::strange)
        }
    }
}

/// The error of an operation that got no answer before the connection ended.
fn ended(end: &OnceLock<Failure>) -> Error {
    end.get().map_or_else(
        || Error::disconnected("the socket closed before the answer"),
        |failure| Error::Refused(failure.clone()),
    )
}

/// The task of a connection: it writes operations and distributes answers.
struct GraphQlTask {
    end: Arc<OnceLock<Failure>>,
    socket: Subscription,
    queue: mpsc::UnboundedReceiver<PendingOperation>,
    waiting: HashMap<String, Answer>,
    next_id: u64,
}

impl GraphQlTask {
    async fn run(mut self) {
        let end = loop {
            let done = tokio::select! {
                operation = self.queue.recv() => match operation {
                    Some(operation) => self.send(operation).await,
                    None => break Error::disconnected("dropped"),
                },
                message = self.socket.message() => match message {
                    Ok((id, message)) => {
                        self.answer(id.as_deref(), message);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                break error;
            }
        };
        tracing::debug!(%end, "GraphQL socket closed");
        if let Error::Refused(failure) = end {
            self.end.get_or_init(|| failure);
        }
    }

    async fn send(&mut self, operation: PendingOperation) -> Result<()> {
        self.next_id += 1;
        let id = self.next_id.to_string();
        let subscribe =
            json!({ "type": "subscribe", "id": id, "payload": operation.payload }).to_string();
        self.waiting.insert(id, operation.answer);
        Ok(self.socket.socket.send(Frame::text(subscribe)).await?)
    }

    fn answer(&mut self, id: Option<&str>, message: Message) {
        let answer = match message {
            Message::Next { payload } => payload.read(),
            Message::Error { payload } => Err(first(payload)),
            _ => return,
        };
        if let Some(waiting) = id.and_then(|id| self.waiting.remove(id)) {
            // An error means that the caller no longer waits for the answer.
            let _ = waiting.send(answer);
        }
    }
}
