//! The one way out to a socket, and the only user of emit.
//!
//! A socket that reads slowly costs the others nothing: it needs no queue, because the journal is one.
//! When too much is in flight its feeds wait, and find more to send at once later.

use super::wire::{Class, NotSent, Wire};
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

/// Nothing left for this long although something waited: the socket is given up, and it resumes.
const LAG_PATIENCE: Duration = Duration::from_secs(30);

/// Looked at again after this when the engine's buffer is full of what is not on our books.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// The library tells a client that it is connected a moment before it takes it for connected itself: a
/// fast client's first command can come in between. A socket that left is noticed sooner than this.
const OUTSIDE_MAX: Duration = Duration::from_secs(1);

/// `2["…",…]` around an event's name and its body.
const EVENT_BYTES: usize = 6;
/// `3…[…]` around an acknowledgement's number and its body.
const ACK_BYTES: usize = 3;
/// `1`.
const DISCONNECT_BYTES: usize = 1;

/// Sends to one socket.
#[derive(Clone)]
pub(in crate::transport) struct Outbox {
    socket: SocketRef,
    wire: Arc<Wire>,
}

impl Outbox {
    pub(super) fn new(socket: SocketRef, wire: Arc<Wire>) -> Self {
        Self { socket, wire }
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
                self.wire.cut();
                return Err(Gone);
            }
        };
        let text_bytes = ACK_BYTES + decimal_digits(ack_id) + body.get().len();
        let Some(_held) = self.wire.hold(text_bytes) else {
            self.wire.cut();
            return Err(Gone);
        };
        self.wait(|wire| wire.admits(Class::Reply)).await?;
        let sent = self
            .wire
            .hand(Class::Reply, text_bytes, || ack.send(&*body));
        sent.map_err(|_| {
            // The sender is used up. Better a socket that ends than a reply that never comes.
            self.wire.cut();
            Gone
        })
    }

    /// Gives what was sent a moment to leave, then ends the session.
    pub(super) async fn close(&self) {
        let drained = self.wait(Wire::is_drained);
        // Whether it left or not, it ends now.
        let _ = tokio::time::timeout(FAREWELL_PATIENCE, drained).await;
        self.wire.cut();
    }

    /// Leaves the namespace for good, as Socket.IO says it: a stock client does not come back.
    pub(super) async fn close_for_good(&self) {
        let leave = || self.socket.clone().disconnect().map_err(SendError::Socket);
        // A full buffer takes no farewell; then the end of the transport has to do.
        let _ = self.wire.hand(Class::Reply, DISCONNECT_BYTES, leave);
        self.close().await;
    }

    async fn emit(&self, class: Class, event: &str, body: &RawValue) -> Result<(), Gone> {
        let began = Instant::now();
        loop {
            match self.try_emit(class, event, body) {
                Ok(()) => return Ok(()),
                Err(NotSent::Gone) => return Err(Gone),
                Err(NotSent::Outside) if began.elapsed() < OUTSIDE_MAX => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(NotSent::Outside) => {
                    // Better a session that ends than a feed that stops without a word.
                    self.wire.cut();
                    return Err(Gone);
                }
                Err(NotSent::Full) if self.wire.admits(class) => {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(NotSent::Full) => self.wait(|wire| wire.admits(class)).await?,
            }
        }
    }

    fn try_emit(&self, class: Class, event: &str, body: &RawValue) -> Result<(), NotSent> {
        let text_bytes = EVENT_BYTES + event.len() + body.get().len();
        let send = || -> Result<(), SendError> { self.socket.emit(event, body) };
        self.wire.hand(class, text_bytes, send)
    }

    async fn wait(&self, is_so: impl Fn(&Wire) -> bool) -> Result<(), Gone> {
        loop {
            // Taken before looking, so that no move between the two is missed.
            let next_move = self.wire.next_move();
            if self.wire.has_ended() {
                return Err(Gone);
            }
            if is_so(&self.wire) {
                return Ok(());
            }
            tokio::select! {
                () = self.wire.ended().cancelled() => return Err(Gone),
                () = next_move => {}
                () = tokio::time::sleep(LAG_PATIENCE) => {
                    tracing::debug!("a socket does not read; it is closed");
                    metrics::counter!("roost_sockets_given_up_total").increment(1);
                    self.wire.cut();
                    return Err(Gone);
                }
            }
        }
    }
}

impl Sender for Outbox {
    async fn clear(&self) -> Result<(), Gone> {
        self.wait(|wire| wire.admits(Class::Frame)).await
    }

    async fn frame(&self, event: &str, body: &RawValue) -> Result<(), Gone> {
        self.emit(Class::Frame, event, body).await
    }

    async fn tell(&self, event: &str, body: &(impl Serialize + Sync)) -> Result<(), Gone> {
        match to_raw_value(body) {
            Ok(body) => self.emit(Class::Reply, event, &body).await,
            Err(error) => {
                tracing::error!(%error, event, "an event cannot be encoded");
                Ok(())
            }
        }
    }

    fn mention(&self, event: &str, body: &impl Serialize) {
        if let Ok(body) = to_raw_value(body) {
            // Not sent means lagging or gone, and the next mention says more than this one.
            let _ = self.try_emit(Class::Frame, event, &body);
        }
    }
}

fn decimal_digits(number: i64) -> usize {
    let sign = usize::from(number < 0);
    sign + number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}
