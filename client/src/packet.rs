//! Packets of Socket.IO 5 in Engine.IO 4, as text frames carry them
//! (<https://socket.io/docs/v4/engine-io-protocol/>, <https://socket.io/docs/v4/socket-io-protocol/>).
//!
//! Reading a packet parses its head only. Its payload stays JSON text, which the caller parses or ignores.

use serde::Serialize;

/// A packet in the namespace `/`, as a server sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The handshake of Engine.IO, an object.
    Open(&'a str),
    /// The end of the engine session.
    Close,
    Ping,
    /// The answer to CONNECT, an object.
    Connected(&'a str),
    /// The refusal of CONNECT, an object.
    ConnectError(&'a str),
    Disconnect,
    /// `payload`: the values after the name, separated by commas and without the brackets.
    Event {
        name: &'a str,
        payload: &'a str,
    },
    /// The acknowledgement of the event with this id. `payload`: the values, as in an event.
    Ack {
        id: u64,
        payload: &'a str,
    },
}

impl<'a> Packet<'a> {
    /// Reads a frame; `None` for a packet that this client does not use, or that is malformed.
    pub fn read(frame: &'a str) -> Option<Self> {
        let (head, rest) = frame.split_at_checked(1)?;
        match head {
            "0" => Some(Self::Open(rest)),
            "1" => Some(Self::Close),
            "2" => Some(Self::Ping),
            "4" => Self::read_message(rest),
            _ => None,
        }
    }

    fn read_message(message: &'a str) -> Option<Self> {
        let (head, rest) = message.split_at_checked(1)?;
        match head {
            "0" => Some(Self::Connected(rest)),
            "1" => Some(Self::Disconnect),
            "2" => {
                let list = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
                let content = list.strip_prefix("[\"")?.strip_suffix(']')?;
                // A name with an escape would hold a quote or control characters: no event of ours has one.
                let (name, payload) = content.split_once('"')?;
                let payload = payload.strip_prefix(',').unwrap_or(payload);
                Some(Self::Event { name, payload })
            }
            "3" => {
                let (id, content) = rest.split_once('[')?;
                Some(Self::Ack {
                    id: id.parse().ok()?,
                    payload: content.strip_suffix(']')?,
                })
            }
            "4" => Some(Self::ConnectError(rest)),
            _ => None,
        }
    }
}

/// The answer to a ping.
pub const PONG: &str = "3";

/// CONNECT to the namespace `/`.
pub fn connect(auth: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("40{}", serde_json::to_string(auth)?))
}

/// An event. With an id, the other side acknowledges it.
pub fn event(id: Option<u64>, name: &str, payload: &impl Serialize) -> serde_json::Result<String> {
    let id = id.map_or_else(String::new, |id| id.to_string());
    let payload = serde_json::to_string(payload)?;
    Ok(format!("42{id}[\"{name}\",{payload}]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn packets_are_read_by_their_heads() {
        let event = |name, payload| Some(Packet::Event { name, payload });
        for (frame, packet) in [
            (r#"0{"sid":"a"}"#, Some(Packet::Open(r#"{"sid":"a"}"#))),
            ("1", Some(Packet::Close)),
            ("2", Some(Packet::Ping)),
            (
                r#"40{"sid":"b"}"#,
                Some(Packet::Connected(r#"{"sid":"b"}"#)),
            ),
            (
                r#"44{"message":"no"}"#,
                Some(Packet::ConnectError(r#"{"message":"no"}"#)),
            ),
            ("41", Some(Packet::Disconnect)),
            (r#"42["a:b",{"c":["]"]}]"#, event("a:b", r#"{"c":["]"]}"#)),
            (r#"42["a"]"#, event("a", "")),
            (r#"427["a",1]"#, event("a", "1")),
            (
                r#"4317[{"d":1}]"#,
                Some(Packet::Ack {
                    id: 17,
                    payload: r#"{"d":1}"#,
                }),
            ),
            ("43[1]", None),
            ("42{}", None),
            ("4", None),
            ("", None),
            ("6", None),
            ("ä", None),
        ] {
            assert_eq!(Packet::read(frame), packet, "{frame}");
        }
    }

    #[test]
    fn packets_are_written_with_and_without_an_id() {
        let payload = json!({ "room": "r" });
        assert_eq!(
            event(Some(3), "a", &payload).unwrap(),
            r#"423["a",{"room":"r"}]"#
        );
        assert_eq!(
            event(None, "a", &payload).unwrap(),
            r#"42["a",{"room":"r"}]"#
        );
        assert_eq!(connect(&payload).unwrap(), r#"40{"room":"r"}"#);
    }
}
