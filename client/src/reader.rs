//! Follows a room for as long as it is read: loads it, joins it, and joins it again whenever the connection ends.

use crate::{Backoff, Client, Error, Result, RoomState, Socket};
use roost_schema::{ErrorCode, RoomClosed, RoomEvent, RoomEvents, RoomId, ServerClosing};
use std::time::Duration;

/// A room as it changes.
pub struct RoomReader {
    client: Client,
    room: RoomId,
    state: Option<RoomState>,
    socket: Option<Socket>,
    backoff: Backoff,
    reconnects: u64,
    resets: u64,
}

impl RoomReader {
    /// Reads a room from the beginning. Nothing happens until [`RoomReader::next`].
    pub fn new(client: Client, room: RoomId) -> Self {
        Self {
            client,
            room,
            state: None,
            socket: None,
            backoff: Backoff::default(),
            reconnects: 0,
            resets: 0,
        }
    }

    /// Waits for a frame and applies it; returns the events that this reader had not seen. `None`: the person was removed from
    /// the room.
    ///
    /// Errors: those that no retry can help, such as `unauthenticated` or `not_found`.
    pub async fn next(&mut self) -> Result<Option<Vec<RoomEvent>>> {
        loop {
            let error = match self.step().await {
                Ok(Step::News(events)) => return Ok(Some(events)),
                Ok(Step::Quiet) => continue,
                Ok(Step::Removed) => return Ok(None),
                Err(error) => error,
            };
            self.socket = None;
            if error.code() == Some(ErrorCode::ReloadRequired) {
                self.state = None;
                self.resets += 1;
            } else if !error.is_retryable() {
                return Err(error);
            }
            self.reconnects += 1;
            tokio::time::sleep(self.backoff.next_wait(error.retry_after())).await;
        }
    }

    /// The room's state; `None` before the first frame.
    pub const fn state(&self) -> Option<&RoomState> {
        self.state.as_ref()
    }

    /// How often the reader connected again.
    pub const fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// How often the state was dropped and loaded anew.
    pub const fn resets(&self) -> u64 {
        self.resets
    }

    /// Cuts the connection, as a lost network would. The next call makes another.
    pub fn cut(&mut self) {
        self.socket = None;
    }

    async fn step(&mut self) -> Result<Step> {
        let Some(state) = &mut self.state else {
            let frame = self.client.list_events(self.room, None).await?;
            let (state, events) = RoomState::begin(frame);
            self.state = Some(state);
            return Ok(Step::News(events));
        };
        let Some(socket) = &mut self.socket else {
            let socket = Socket::connect(&self.client).await?;
            socket.join(self.room, Some(state.position())).await?;
            self.socket = Some(socket);
            self.backoff.reset();
            return Ok(Step::Quiet);
        };
        let event = socket
            .next_event()
            .await
            .ok_or_else(|| Error::disconnected("the connection ended"))?;
        match event.name.as_str() {
            "room:events" => {
                let frame: RoomEvents = event.read()?;
                self.resets += u64::from(frame.reset);
                Ok(Step::News(state.apply(frame)))
            }
            "room:closed" => closed(&event.read()?),
            "server:closing" => {
                let closing: ServerClosing = event.read()?;
                tokio::time::sleep(Duration::from_millis(closing.retry_after_ms)).await;
                Err(Error::disconnected("the server closes"))
            }
            _ => Ok(Step::Quiet),
        }
    }
}

enum Step {
    News(Vec<RoomEvent>),
    Quiet,
    Removed,
}

/// What follows from a `room:closed`.
fn closed(closed: &RoomClosed) -> Result<Step> {
    match closed.code {
        ErrorCode::NotFound | ErrorCode::Forbidden => Ok(Step::Removed),
        code => Err(Error::Refused(roost_schema::Failure {
            code,
            message: closed.message.clone(),
            retry_after_ms: None,
        })),
    }
}
