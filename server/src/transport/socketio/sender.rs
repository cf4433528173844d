//! Sends events and replies to a socket. No other file emits.
//!
//! A socket that reads slowly has no queue and costs the others nothing: while too much is in flight its feeds wait,
//! and later read the journal from where they were.

use super::{
    engine_session::{EngineSession, NotSent},
    in_flight::PacketClass,
};
use crate::transport::{
    FAREWELL_PATIENCE,
    sockets::{Gone, Sender},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::{
    SendError,
    extract::{AckSender, SocketRef},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A socket is closed when none of its waiting packets left for this long. Its client comes back and resumes.
const LAG_PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait when the engine's buffer is full of packets that are not counted here, such as its own pings.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How long an event waits for its socket to be in the namespace. The library announces the connect to the client a
/// moment before it enters the socket itself, and a fast client's first command can come in between. That a socket left
/// is noticed sooner than this.
const OUTSIDE_MAX: Duration = Duration::from_secs(1);

/// `2["…",…]` around an event's name and its body.
const EVENT_BYTES: usize = 6;
/// `3…[…]` around an acknowledgement's number and its body.
const ACK_BYTES: usize = 3;
/// `1`.
const DISCONNECT_BYTES: usize = 1;

/// Sends to one socket.
#[derive(Clone)]
pub(in crate::transport) struct SocketSender {
    socket: SocketRef,
    engine_session: Arc<EngineSession>,
}

impl SocketSender {
    pub(super) fn new(socket: SocketRef, engine_session: Arc<EngineSession>) -> Self {
        Self {
            socket,
            engine_session,
        }
    }

    /// Answers a command.
    pub(super) async fn reply(
        &self,
        ack: AckSender,
        ack_id: i64,
        body: &impl Serialize,
    ) -> Result<(), Gone> {
        let body = match to_raw_value(body) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "an answer cannot be encoded");
                self.engine_session.cut();
                return Err(Gone);
            }
        };
        let text_bytes = ACK_BYTES + decimal_digits(ack_id) + body.get().len();
        let Some(_held) = self.engine_session.hold(text_bytes) else {
            self.engine_session.cut();
            return Err(Gone);
        };
        self.wait(|session| session.admits(PacketClass::Reply))
            .await?;
        let sent = self
            .engine_session
            .send(PacketClass::Reply, text_bytes, || ack.send(&*body));
        sent.map_err(|_| {
            // The acknowledgement cannot be sent again. The session ends: a reply must not be missing.
            self.engine_session.cut();
            Gone
        })
    }

    /// Gives the packets in flight a moment to leave, then ends the session.
    pub(super) async fn close(&self) {
        let drained = self.wait(EngineSession::is_drained);
        // The session ends, whether they left or not.
        let _ = tokio::time::timeout(FAREWELL_PATIENCE, drained).await;
        self.engine_session.cut();
    }

    /// Disconnects the socket from the namespace, and ends the session. A stock client does not come back after that.
    pub(super) async fn close_for_good(&self) {
        let leave = || self.socket.clone().disconnect().map_err(SendError::Socket);
        // A full buffer takes no disconnect packet. The client then sees only that the transport ends.
        let _ = self
            .engine_session
            .send(PacketClass::Reply, DISCONNECT_BYTES, leave);
        self.close().await;
    }

    async fn emit(&self, class: PacketClass, event: &str, body: &RawValue) -> Result<(), Gone> {
        let began = Instant::now();
        loop {
            match self.try_emit(class, event, body) {
                Ok(()) => return Ok(()),
                Err(NotSent::Gone) => return Err(Gone),
                Err(NotSent::Outside) if began.elapsed() < OUTSIDE_MAX => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(NotSent::Outside) => {
                    // The session ends: a feed must not stop while its client believes to follow the room.
                    self.engine_session.cut();
                    return Err(Gone);
                }
                Err(NotSent::Full) if self.engine_session.admits(class) => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(NotSent::Full) => self.wait(|session| session.admits(class)).await?,
            }
        }
    }

    fn try_emit(&self, class: PacketClass, event: &str, body: &RawValue) -> Result<(), NotSent> {
        let text_bytes = EVENT_BYTES + event.len() + body.get().len();
        let send = || -> Result<(), SendError> { self.socket.emit(event, body) };
        self.engine_session.send(class, text_bytes, send)
    }

    async fn wait(&self, is_met: impl Fn(&EngineSession) -> bool) -> Result<(), Gone> {
        loop {
            // Begun before the condition is checked, so that a packet that leaves between the two is noticed.
            let next_move = self.engine_session.next_move();
            if self.engine_session.has_ended() {
                return Err(Gone);
            }
            if is_met(&self.engine_session) {
                return Ok(());
            }
            tokio::select! {
                () = self.engine_session.ended().cancelled() => return Err(Gone),
                () = next_move => {}
                () = tokio::time::sleep(LAG_PATIENCE) => {
                    tracing::debug!("a socket does not read; it is closed");
                    metrics::counter!("roost_sockets_given_up_total").increment(1);
                    self.engine_session.cut();
                    return Err(Gone);
                }
            }
        }
    }
}

impl Sender for SocketSender {
    async fn ready_for_frames(&self) -> Result<(), Gone> {
        self.wait(|session| session.admits(PacketClass::Frame))
            .await
    }

    async fn send_frame(&self, event: &str, body: &RawValue) -> Result<(), Gone> {
        self.emit(PacketClass::Frame, event, body).await
    }

    async fn send_control(&self, event: &str, body: &(impl Serialize + Sync)) -> Result<(), Gone> {
        match to_raw_value(body) {
            Ok(body) => self.emit(PacketClass::Reply, event, &body).await,
            Err(error) => {
                tracing::error!(%error, event, "an event cannot be encoded");
                Ok(())
            }
        }
    }

    fn send_lossy(&self, event: &str, body: &impl Serialize) {
        if let Ok(body) = to_raw_value(body) {
            // Not sent: the socket lags or is gone, and the next event replaces this one.
            let _ = self.try_emit(PacketClass::Frame, event, &body);
        }
    }
}

fn decimal_digits(number: i64) -> usize {
    let sign = usize::from(number < 0);
    sign + number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}
