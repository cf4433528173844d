//! GraphQL: queries and mutations over HTTP, subscriptions over `graphql-transport-ws`
//! (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>).

use crate::{
    Client, Error, Result,
    endpoint::{WebSocket, answer},
};
use futures::{SinkExt, StreamExt};
use reqwest::Method;
use roost_schema::{ErrorCode, Failure, Position, RoomEvents, RoomId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message as Frame, protocol::CloseFrame};

const PROTOCOL: &str = "graphql-transport-ws";
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before connecting again, after a server that stops has closed the socket.
const RECONNECT_AFTER_MS: u64 = 1_000;
/// The id of an operation. A connection carries one operation here, so the id is always the same.
const OPERATION_ID: &str = "1";

const ROOM_EVENTS: &str = "subscription($room: RoomId!, $after: Position) {
    roomEvents(room: $room, after: $after) {
        room position live reset events { seq item kind op body actor at }
    }
}";

impl Client {
    /// Runs a query or a mutation and reads its `data`.
    pub async fn query<T: DeserializeOwned>(
        &self,
        query: &str,
        variables: impl Serialize,
    ) -> Result<T> {
        let token = self.access_token().await?;
        let response = self
            .endpoint()
            .request(Method::POST, "/graphql")
            .bearer_auth(token.expose())
            .json(&json!({ "query": query, "variables": variables }))
            .send()
            .await?;
        let response: Response = answer(response).await?;
        response.read()
    }

    /// Starts a subscription.
    pub async fn subscribe(&self, query: &str, variables: impl Serialize) -> Result<Subscription> {
        let mut subscription = self.open_graphql().await?;
        let subscribe = json!({
            "type": "subscribe", "id": OPERATION_ID,
            "payload": { "query": query, "variables": variables },
        });
        let frame = Frame::text(subscribe.to_string());
        subscription.socket.send(frame).await?;
        Ok(subscription)
    }

    /// Opens a WebSocket and waits for `connection_ack`.
    pub(crate) async fn open_graphql(&self) -> Result<Subscription> {
        let token = self.access_token().await?;
        let mut socket = self
            .endpoint()
            .web_socket("/graphql", Some(PROTOCOL))
            .await?;
        let authorization = format!("Bearer {}", token.expose());
        let init = json!({
            "type": "connection_init", "payload": { "Authorization": authorization },
        });
        socket.send(Frame::text(init.to_string())).await?;
        let mut subscription = Subscription { socket };
        let acknowledged = subscription.acknowledged();
        timeout(ACKNOWLEDGE_TIMEOUT, acknowledged)
            .await
            .map_err(|_| Error::Late)??;
        Ok(subscription)
    }

    /// Subscribes to a room's changes after a position; without one, from now on.
    pub async fn subscribe_room(
        &self,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<Subscription> {
        self.subscribe(ROOM_EVENTS, json!({ "room": room, "after": after }))
            .await
    }
}

/// The answers to a subscription as they come. It ends when it is dropped.
pub struct Subscription {
    pub(crate) socket: WebSocket,
}

impl Subscription {
    /// The next answer's `data`; `None` when the server completed it.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        match self.message().await?.1 {
            Message::Next { payload } => payload.read().map(Some),
            Message::Error { payload } => Err(first(payload)),
            Message::Complete {} => Ok(None),
            Message::ConnectionAck {} | Message::Ping {} | Message::Pong {} => {
                Err(Error::strange("an answer was due"))
            }
        }
    }

    /// The next frame of [`Client::subscribe_room`].
    pub async fn next_events(&mut self) -> Result<Option<RoomEvents>> {
        let Some(mut data) = self.next::<Value>().await? else {
            return Ok(None);
        };
        let mut events = data["roomEvents"].take();
        // An earlier release wrote both as enumerations, in capitals.
        let is_capitals = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase());
        for event in events["events"].as_array_mut().into_iter().flatten() {
            for name in ["kind", "op"] {
                if let Some(text) = event[name].as_str().filter(|text| is_capitals(text)) {
                    event[name] = text.to_lowercase().into();
                }
            }
        }
        serde_json::from_value(events)
            .map(Some)
            .map_err(Error::strange)
    }

    async fn acknowledged(&mut self) -> Result<()> {
        match self.message().await?.1 {
            Message::ConnectionAck {} => Ok(()),
            _ => Err(Error::strange("an acknowledgement was due")),
        }
    }

    /// The next message, with the id of its operation. Pings are answered and left out.
    pub(crate) async fn message(&mut self) -> Result<(Option<String>, Message)> {
        loop {
            let text = match self.socket.next().await {
                Some(Ok(Frame::Text(text))) => text,
                Some(Ok(Frame::Close(Some(close)))) => {
                    return Err(closed(&close));
                }
                Some(Ok(Frame::Close(None))) | None => {
                    return Err(Error::disconnected("closed"));
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(error.into()),
            };
            let Envelope { id, message } = serde_json::from_str(&text).map_err(Error::strange)?;
            match message {
                Message::Ping {} => {
                    let pong = Frame::text(r#"{"type":"pong"}"#);
                    self.socket.send(pong).await?;
                }
                Message::Pong {} => {}
                message => return Ok((id, message)),
            }
        }
    }
}

/// The error of a close code. A server that stops, or whose client's token has expired, answers every operation that it began
/// before it closes: an operation without an answer was not begun.
fn closed(close: &CloseFrame) -> Error {
    const SERVICE_RESTART: u16 = 1012;
    const TRY_AGAIN_LATER: u16 = 1013;
    const FENCED: &str = "Try again later";
    const FORBIDDEN: u16 = 4403;
    const EXPIRED: &str = "The access token has expired";
    let message = format!("{}: {}", close.code, close.reason);
    let number: u16 = close.code.into();
    let (code, retry_after_ms) = match number {
        SERVICE_RESTART => (ErrorCode::Unavailable, Some(RECONNECT_AFTER_MS)),
        TRY_AGAIN_LATER if close.reason.as_str() == FENCED => {
            (ErrorCode::Unavailable, Some(RECONNECT_AFTER_MS))
        }
        FORBIDDEN if close.reason.as_str() == EXPIRED => (ErrorCode::Unauthenticated, None),
        _ => return Error::Disconnected(message),
    };
    Error::Refused(Failure {
        code,
        message,
        retry_after_ms,
    })
}

#[derive(Deserialize)]
struct Envelope {
    id: Option<String>,
    #[serde(flatten)]
    message: Message,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Message {
    ConnectionAck {},
    Ping {},
    Pong {},
    Next { payload: Response },
    Error { payload: Vec<GraphQlError> },
    Complete {},
}

#[derive(Deserialize)]
pub(crate) struct Response {
    #[serde(default)]
    data: Value,
    #[serde(default)]
    errors: Vec<GraphQlError>,
}

#[derive(Deserialize)]
pub(crate) struct GraphQlError {
    message: String,
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    code: Option<ErrorCode>,
    retry_after_ms: Option<u64>,
}

impl Response {
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T> {
        if !self.errors.is_empty() {
            return Err(first(self.errors));
        }
        serde_json::from_value(self.data).map_err(Error::strange)
    }
}

pub(crate) fn first(errors: Vec<GraphQlError>) -> Error {
    let Some(error) = errors.into_iter().next() else {
        return Error::strange("an error without errors");
    };
    match error.extensions.code {
        Some(code) => Error::Refused(Failure {
            code,
            message: error.message,
            retry_after_ms: error.extensions.retry_after_ms,
        }),
        None => Error::Strange(format!("an error without a code: {}", error.message)),
    }
}
