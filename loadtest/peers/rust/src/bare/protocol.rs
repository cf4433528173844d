//! The packets of Engine.IO 4 and Socket.IO 5 that the scenarios use, read and written by hand
//! (<https://socket.io/docs/v4/socket-io-protocol/>).

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message as Frame;

pub(super) const PING_INTERVAL: Duration = Duration::from_secs(25);
pub(super) const PING: &str = "2";
const PING_TIMEOUT: Duration = Duration::from_secs(20);
const PAYLOAD_BYTES_MAX: u64 = 1_000_000;

/// A packet of a client.
pub(super) enum Packet<'a> {
    /// `40{…}`: connects, with its `auth`.
    Connect(Value),
    Event(Event<'a>),
    /// `41`, or `1`.
    Close,
    /// A pong, or something the scenarios do not use.
    Other,
}

/// `42N[name,payload]`: a command; N is there when it wants an answer.
pub(super) struct Event<'a> {
    pub(super) name: &'a str,
    pub(super) payload: &'a RawValue,
    answer: &'a str,
}

/// Reads a packet; `None`: it is broken.
pub(super) fn read(text: &str) -> Option<Packet<'_>> {
    if let Some(event) = text.strip_prefix("42") {
        let (answer, content) = event.split_at(event.find('[')?);
        let (name, payload) = serde_json::from_str(content).ok()?;
        return Some(Packet::Event(Event {
            name,
            payload,
            answer,
        }));
    }
    if let Some(auth) = text.strip_prefix("40") {
        let auth = if auth.is_empty() { "null" } else { auth };
        return serde_json::from_str(auth).ok().map(Packet::Connect);
    }
    Some(match text {
        "41" | "1" => Packet::Close,
        _ => Packet::Other,
    })
}

impl Event<'_> {
    /// The answer to the command, if it wants one.
    pub(super) fn answer(&self, view: &impl Serialize) -> serde_json::Result<Option<Frame>> {
        if self.answer.is_empty() {
            return Ok(None);
        }
        let view = serde_json::to_string(view)?;
        Ok(Some(Frame::text(format!("43{}[{view}]", self.answer))))
    }
}

/// The first packet of a server.
pub(super) fn open(sid: &str) -> Frame {
    let open = json!({
        "sid": sid,
        "upgrades": [],
        "pingInterval": u64::try_from(PING_INTERVAL.as_millis()).unwrap_or(u64::MAX),
        "pingTimeout": u64::try_from(PING_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        "maxPayload": PAYLOAD_BYTES_MAX,
    });
    Frame::text(format!("0{open}"))
}

/// The answer to a CONNECT.
pub(super) fn connected(sid: &str) -> Frame {
    Frame::text(format!("40{}", json!({ "sid": sid })))
}

/// `42[name,payload]`: an event.
pub(super) fn event(name: &str, payload: &impl Serialize) -> serde_json::Result<Frame> {
    let content = serde_json::to_string(&(name, payload))?;
    Ok(Frame::text(format!("42{content}")))
}
