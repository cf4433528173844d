//! One feed for join, resume, lagging sockets, GraphQL subscriptions and SSE.

use super::LiveError;
use roost_schema::RoomEvents;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Changes of a room that go out together, encoded once per instance.
#[derive(Debug)]
pub struct Frame {
    pub content: RoomEvents,
    json: std::sync::OnceLock<Arc<RawValue>>,
}

impl Frame {
    /// The frame as JSON, encoded at the first call.
    pub fn to_json(&self) -> Arc<RawValue> {
        todo!()
    }
}

/// A reader's cursor in a room. It pulls: whoever is slow is given more at once, later.
pub struct Feed {}

impl Feed {
    /// Waits for the next frame. `None` when the reader was removed from the room. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Arc<Frame>>, LiveError> {
        todo!()
    }
}
