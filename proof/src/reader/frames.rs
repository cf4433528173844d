//! The frames inside the answers of GraphQL subscriptions and SSE.

use roost_client::Error;
use roost_schema::RoomEvents;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Counts the events that all readers received by subscriptions. An answer does not name its release, so events in the
/// form of the previous release are counted apart.
#[derive(Default)]
pub(super) struct Subscribed {
    events: AtomicUsize,
    in_capitals: AtomicUsize,
}

impl Subscribed {
    /// Reads the frame of an answer.
    pub(super) fn read(&self, mut frame: Value) -> Result<RoomEvents, Error> {
        let in_capitals = lower_capitals(&mut frame);
        let frame: RoomEvents = serde_json::from_value(frame)
            .map_err(|error| Error::Strange(format!("a frame of a subscription: {error}")))?;
        self.events.fetch_add(frame.events.len(), SeqCst);
        self.in_capitals.fetch_add(in_capitals, SeqCst);
        Ok(frame)
    }

    pub(super) fn line(&self) -> String {
        format!(
            "events by subscription {}  of them in capitals, as the release before writes kinds and ops, {}",
            self.events.load(SeqCst),
            self.in_capitals.load(SeqCst),
        )
    }
}

/// Converts kinds and ops from the previous release's enumerations, in capitals. Answers how many events had that form;
/// others stay unchanged.
fn lower_capitals(frame: &mut Value) -> usize {
    let is_capitals = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
    let mut count = 0;
    for event in frame["events"].as_array_mut().into_iter().flatten() {
        let mut is_lowered = false;
        for name in ["kind", "op"] {
            if let Some(word) = event[name].as_str().filter(is_capitals) {
                event[name] = word.to_lowercase().into();
                is_lowered = true;
            }
        }
        count += usize::from(is_lowered);
    }
    count
}

/// The frame of a server-sent event; `None` for a comment or a `retry:`.
pub(super) fn of_server_sent(event: &str) -> Option<Result<RoomEvents, Error>> {
    let data: Vec<_> = event
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    if data.is_empty() {
        return None;
    }
    if event.lines().any(|line| line == "event: closed") {
        // A server that stops gives a reason, and the reader connects again.
        return Some(Err(Error::Disconnected(data.join("\n"))));
    }
    let frame = serde_json::from_str(&data.join("\n"));
    Some(frame.map_err(|error| Error::Strange(format!("a server-sent event: {error}"))))
}
