//! Reads commands and sends their acknowledgements. Every event that asks for an acknowledgement gets one, however
//! malformed it is: the view, or `{"error": {…}}`.

use super::{connection::Connection, sender::SocketSender};
use crate::{
    app::{Api, Result},
    transport::{
        cut_short, refusal_metrics,
        sockets::{Begun, Caller, Commands, Reply, Socket, one},
    },
};
use roost_schema::{ErrorCode, Failure};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;
use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef},
    handler::FromMessageParts,
    socket,
};
use socketioxide_core::Value;
use std::{convert::Infallible, sync::Arc};
use tokio_util::{
    future::FutureExt, sync::CancellationToken, task::task_tracker::TaskTrackerToken,
};

/// Characters of the sentence about a payload that cannot be read.
const MESSAGE_CHARS_MAX: usize = 300;

impl Commands for SocketRef {
    type Reply = Acknowledgement;

    fn answer<Input, View, Answer>(
        &self,
        name: &'static str,
        cost: fn(&Input) -> usize,
        run: fn(&Caller, Input) -> Answer,
    ) where
        Input: DeserializeOwned + Send + Sync + 'static,
        View: Serialize + Send + Sync + 'static,
        Answer: Future<Output = Result<View>> + Send + 'static,
    {
        self.on(name, move |call: Call, ack: AckSender| {
            let (accepted, reply, until) = call.accept(ack, cost);
            let answer = accepted.map(|(caller, input)| {
                Box::pin(run(&caller, input).with_cancellation_token_owned(until))
            });
            async move {
                match answer {
                    Ok(answer) => {
                        let answer = answer.await.unwrap_or_else(|| Err(cut_short()));
                        reply.send(answer).await;
                    }
                    Err(failure) => reply.fail(failure).await,
                }
            }
        });
    }

    fn converse<Input>(
        &self,
        name: &'static str,
        cost: fn(&Input) -> usize,
        run: fn(&Caller, Input, Acknowledgement) -> Begun<()>,
    ) where
        Input: DeserializeOwned + Send + Sync + 'static,
    {
        self.on(name, move |call: Call, ack: AckSender| {
            let (accepted, reply, _) = call.accept(ack, cost);
            match accepted {
                Ok((caller, input)) => run(&caller, input, reply),
                Err(failure) => Begun::new(reply.fail(failure)),
            }
        });
    }
}

/// Answers events that name no command.
pub(super) fn answer_unknown(socket: &SocketRef) {
    socket.on_fallback(|call: Call, ack: AckSender| {
        let (accepted, reply, _) = call.accept(ack, one::<IgnoredAny>);
        let failure = accepted.map_or_else(
            |failure| failure,
            |_| malformed("there is no such event".to_owned()),
        );
        reply.fail(failure)
    });
}

/// Sends the answer to one event.
pub(in crate::transport) struct Acknowledgement {
    /// With the instance, for errors; `None`: the socket is not connected.
    sender: Option<(SocketSender, Arc<str>)>,
    ack: AckSender,
    ack_id: Option<i64>,
    _pending: Option<TaskTrackerToken>,
}

impl Reply for Acknowledgement {
    type Sender = SocketSender;

    async fn send(self, result: Result<impl Serialize + Send + Sync>) {
        match result {
            Ok(view) => self.acknowledge(&view).await,
            Err(error) => self.fail(error.report()).await,
        }
    }

    fn sender(&self) -> Option<SocketSender> {
        self.sender.as_ref().map(|(sender, _)| sender.clone())
    }
}

impl Acknowledgement {
    async fn fail(self, failure: Failure) {
        if let Some((_, instance)) = &self.sender {
            let error = Refused::new(failure, instance);
            self.acknowledge(&Answer { error }).await;
        }
    }

    async fn acknowledge(self, body: &impl Serialize) {
        if let (Some((sender, _)), Some(ack_id)) = (self.sender, self.ack_id) {
            // An error means that the socket has ended, and its client no longer waits for the answer.
            let _ = sender.reply(self.ack, ack_id, body).await;
        }
    }
}

/// An acknowledgement that refuses.
#[derive(Serialize)]
struct Answer {
    error: Refused,
}

/// A failure, and the instance that answers with it.
#[derive(Serialize)]
pub(super) struct Refused {
    #[serde(flatten)]
    failure: Failure,
    instance: Arc<str>,
}

impl Refused {
    pub(super) fn new(failure: Failure, instance: &Arc<str>) -> Self {
        refusal_metrics::count(Api::SocketIo, failure.code);
        Self {
            failure,
            instance: Arc::clone(instance),
        }
    }
}

/// One event as it arrived. The crate's own extractors drop an event that they cannot parse without an answer, so its
/// input is read here.
struct Call {
    connection: Option<Arc<Connection>>,
    socket: SocketRef,
    text: Result<String, &'static str>,
    ack_id: Option<i64>,
}

impl FromMessageParts<LocalAdapter> for Call {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<socket::Socket<LocalAdapter>>,
        value: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        let socket = SocketRef::from(Arc::clone(socket));
        let text = match value {
            Value::Str(text, None) => Ok(text.as_str().to_owned()),
            Value::Str(_, Some(_)) | Value::Bytes(_) => Err("binary data is not understood here"),
        };
        Ok(Self {
            connection: Connection::of(&socket),
            socket,
            text,
            ack_id: *ack_id,
        })
    }
}

impl Call {
    /// Checks the socket and reads the input. The token is cancelled when the answer may take no longer.
    fn accept<Input: DeserializeOwned>(
        self,
        ack: AckSender,
        cost: fn(&Input) -> usize,
    ) -> (
        Result<(Caller, Input), Failure>,
        Acknowledgement,
        CancellationToken,
    ) {
        let connection = self.connection.as_deref();
        let until = connection.map_or_else(CancellationToken::new, |it| it.cut_short().clone());
        let reply = Acknowledgement {
            sender: connection.map(|connection| {
                let sender = SocketSender::new(self.socket, Arc::clone(&connection.engine_session));
                (sender, Arc::clone(&connection.instance))
            }),
            ack,
            ack_id: self.ack_id,
            _pending: connection.map(Connection::begin_answer),
        };
        let accepted = match connection {
            Some(connection) => admit(&connection.socket, self.text, cost),
            None => Err(malformed("the socket is not connected".to_owned())),
        };
        (accepted, reply, until)
    }
}

/// Charges one event before its input is read, and the rest of its cost after that.
fn admit<Input: DeserializeOwned>(
    socket: &Arc<Socket>,
    text: Result<String, &'static str>,
    cost: fn(&Input) -> usize,
) -> Result<(Caller, Input), Failure> {
    let actor = socket.check_open().map_err(|error| error.report())?;
    socket.charge(1).map_err(|error| error.report())?;
    let input = read(text)?;
    let more = cost(&input).saturating_sub(1);
    if more > 0 {
        socket.charge(more).map_err(|error| error.report())?;
    }
    let socket = Arc::clone(socket);
    Ok((Caller { actor, socket }, input))
}

/// Reads `["event", input]`: one input, neither none nor two.
fn read<Input: DeserializeOwned>(text: Result<String, &'static str>) -> Result<Input, Failure> {
    let text = text.map_err(|problem| malformed(problem.to_owned()))?;
    let parts: Vec<&RawValue> =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let [_event, input] = parts.as_slice() else {
        return Err(malformed("an event takes one object".to_owned()));
    };
    serde_json::from_str(input.get()).map_err(|error| malformed(error.to_string()))
}

fn malformed(mut message: String) -> Failure {
    // The problem may quote what was sent.
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
        message.truncate(end);
    }
    Failure {
        code: ErrorCode::Malformed,
        message,
        retry_after_ms: None,
    }
}
