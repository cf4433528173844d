//! Reading and writing the messages of a GraphQL socket, each within its bounds.

use super::{
    operation::Messages,
    protocol::{ClientMessage, Ending},
};
use crate::transport::arrivals::ACCOUNT_BYTES_MAX;
use axum::extract::ws::{Message, WebSocket};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The connection notices a longer message by its header, and drops the rest.
pub(super) const MESSAGE_BYTES_MAX: usize = ACCOUNT_BYTES_MAX;
/// A pong repeats the payload of its ping, and waits in memory while the client does not read.
const PING_BYTES_MAX: usize = 1_024;
const PING_INTERVAL: Duration = Duration::from_secs(12);
/// A client is dead when it sent nothing for this long, not even a pong, or took nothing.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A message could not be written in time.
pub(super) struct WriteFailed;

/// Writes the messages of the operations, and pings. Only this task waits for the socket. Returns `Ok` when every
/// sender of messages was dropped.
pub(super) async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    mut messages: Messages,
) -> Result<(), WriteFailed> {
    let mut ping = interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            text = messages.next() => match text {
                Some(text) => Message::Text(text),
                None => return Ok(()),
            },
            _ = ping.tick() => Message::Ping(bytes::Bytes::new()),
        };
        if !matches!(timeout(SILENCE_MAX, sink.send(message)).await, Ok(Ok(()))) {
            return Err(WriteFailed);
        }
    }
}

/// Reads a message; returns it with its length.
pub(super) async fn next(
    stream: &mut SplitStream<WebSocket>,
) -> Result<(ClientMessage, usize), Ending> {
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
