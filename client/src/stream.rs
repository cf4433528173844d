//! A room as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>).

use crate::{Client, Error, Result, endpoint::answer};
use futures::StreamExt;
use reqwest::{Method, Response, header::ACCEPT};
use roost_schema::{Failure, Position, RoomEvents, RoomId};
use std::time::Duration;

/// The timeout of a whole stream, which has no last byte: longer than any test takes.
const STREAM_TIMEOUT: Duration = Duration::from_hours(24);

impl Client {
    /// Follows a room after a position; without one, from now on.
    pub async fn stream_room(&self, room: RoomId, after: Option<Position>) -> Result<EventStream> {
        let token = self.access_token().await?;
        let path = format!("/api/v1/rooms/{room}/stream");
        let after = after.map(|after| ("after", after));
        let response = self
            .endpoint()
            .request(Method::GET, &path)
            .bearer_auth(token.expose())
            .header(ACCEPT, "text/event-stream")
            .query(after.as_slice())
            .timeout(STREAM_TIMEOUT)
            .send()
            .await?;
        if !response.status().is_success() {
            answer::<()>(response).await?;
            return Err(Error::strange("a stream was due"));
        }
        Ok(EventStream {
            chunks: Box::pin(chunks(response)),
            unread: Vec::new(),
        })
    }
}

type Chunks = futures::stream::BoxStream<'static, Result<Vec<u8>>>;

/// The frames of a room as they come. The stream ends when it is dropped.
pub struct EventStream {
    chunks: Chunks,
    unread: Vec<u8>,
}

impl EventStream {
    /// The next frame. Errors: the reason for which the server closed the stream, or that the connection broke.
    pub async fn next_events(&mut self) -> Result<RoomEvents> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                if let Some(frame) = read(&String::from_utf8_lossy(&block))? {
                    return Ok(frame);
                }
            }
            match self.chunks.next().await {
                Some(chunk) => self.unread.extend(chunk?),
                None => return Err(Error::disconnected("the stream ended")),
            }
        }
    }
}

fn chunks(response: Response) -> impl futures::Stream<Item = Result<Vec<u8>>> {
    response
        .bytes_stream()
        .map(|chunk| Ok(chunk.map_err(Error::from)?.to_vec()))
}

/// One block of lines: a frame, the reason the stream is closed, or a comment.
fn read(block: &str) -> Result<Option<RoomEvents>> {
    let field = |name: &str| {
        let values = block.lines().filter_map(|line| line.strip_prefix(name));
        let values: Vec<&str> = values
            .map(|value| value.strip_prefix(' ').unwrap_or(value))
            .collect();
        values.join("\n")
    };
    let data = field("data:");
    if data.is_empty() {
        return Ok(None);
    }
    if field("event:") == "closed" {
        let failure: Failure = serde_json::from_str(&data).map_err(Error::strange)?;
        return Err(Error::Refused(failure));
    }
    serde_json::from_str(&data)
        .map(Some)
        .map_err(Error::strange)
}
