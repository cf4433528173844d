//! A connected Socket.IO socket: the answers that are pending, and how it is closed.

use super::{engine_session::EngineSession, sender::SocketSender};
use crate::{
    app::{Actor, App},
    transport::{
        ANSWERS_PATIENCE, FAREWELL_PATIENCE, answers_patience,
        sockets::{Sender, Socket},
    },
};
use roost_schema::{ErrorCode, ServerClosing};
use socketioxide::extract::SocketRef;
use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{self, Ordering},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tokio_util::{
    future::FutureExt,
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Events of one socket that wait for their answers. A client that sends more is closed.
const ANSWERS_PENDING_MAX: usize = 4_096;

/// How long a closing socket still reads after its last answer. Commands that the client sent before it received that
/// answer, or `server:closing`, are refused and not lost.
const REFUSING_TIME: Duration = Duration::from_millis(250);

/// A socket is closed within this: `server:closing` is sent, its commands are answered, and the answers leave.
pub(super) const CLOSE_TIME_MAX: Duration = FAREWELL_PATIENCE
    .saturating_add(REFUSING_TIME)
    .saturating_add(ANSWERS_PATIENCE)
    .saturating_add(FAREWELL_PATIENCE)
    .saturating_add(FAREWELL_PATIENCE);

/// Lives as long as the socket is connected.
pub(super) struct Connection {
    pub(super) socket: Arc<Socket>,
    /// This run of this instance, for errors.
    pub(super) instance: Arc<str>,
    pub(super) engine_session: Arc<EngineSession>,
    /// One token for each event that waits for its answer.
    answers_pending: TaskTracker,
    /// Cancelled when pending commands are answered `outcome_unknown`, because their outcome takes too long.
    cut_short: CancellationToken,
    /// Counts the socket among those that a stopping server waits for.
    _token: TaskTrackerToken,
}

impl Connection {
    pub(super) fn new(
        (app, instance): (App, Arc<str>),
        actor: Actor,
        engine_session: Arc<EngineSession>,
        token: TaskTrackerToken,
    ) -> Arc<Self> {
        metrics::gauge!("roost_sockets").increment(1);
        let socket = Socket::new(app, actor, engine_session.ended().child_token());
        engine_session.watch_revocation(socket.session_end.clone());
        Arc::new(Self {
            socket: Arc::new(socket),
            instance,
            engine_session,
            answers_pending: closed_tracker(),
            cut_short: CancellationToken::new(),
            _token: token,
        })
    }

    pub(super) fn of(socket: &SocketRef) -> Option<Arc<Self>> {
        socket.extensions.get()
    }

    /// Counts an event until its answer is given. Call it before the event is admitted: then either the event sees that
    /// the socket is closing, or `close` waits for the event.
    pub(super) fn begin_answer(&self) -> TaskTrackerToken {
        let pending = self.answers_pending.token();
        atomic::fence(Ordering::SeqCst);
        if self.answers_pending.len() > ANSWERS_PENDING_MAX {
            self.engine_session.cut();
        }
        pending
    }

    /// Cancelled when a command may take no longer.
    pub(super) fn cut_short(&self) -> &CancellationToken {
        &self.cut_short
    }

    /// Closes the socket so that its client comes back: refuses new commands, sends `server:closing`, answers the
    /// commands that were begun, then closes the transport, after which a stock client reconnects by itself. A login
    /// session that is revoked meanwhile closes the socket at once, for good.
    pub(super) async fn close(&self, socket: SocketRef, code: ErrorCode, retry_after: Duration) {
        if !self.begin_closing() {
            return;
        }
        let closing = ServerClosing {
            code,
            retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        };
        let sender = SocketSender::new(socket.clone(), Arc::clone(&self.engine_session));
        let closing = async {
            let sent = sender.send_control("server:closing", &closing);
            // A socket that does not read misses the event, and is closed in the same way.
            let _ = timeout(FAREWELL_PATIENCE, sent).await;
            self.end(false);
            self.give_answers().await;
            // A fenced instance closes its sockets without that delay.
            if !self.socket.app.fence().is_shut() {
                sleep(REFUSING_TIME).await;
            }
        };
        let has_closed = closing.with_cancellation_token(&self.session_end).await;
        match has_closed {
            Some(()) => sender.close().await,
            None => self.close_for_good(socket).await,
        }
    }

    async fn give_answers(&self) {
        atomic::fence(Ordering::SeqCst);
        let patience = answers_patience(self.socket.app.fence());
        if timeout(patience, self.answers_pending.wait())
            .await
            .is_err()
        {
            self.cut_short.cancel();
            // The answers need no outcome any more, only to be sent; a client that does not read misses them.
            let _ = timeout(FAREWELL_PATIENCE, self.answers_pending.wait()).await;
        }
    }

    /// Closes the socket of a session that was revoked. Its client is not to come back.
    pub(super) async fn close_for_good(&self, socket: SocketRef) {
        self.end(true);
        let sender = SocketSender::new(socket, Arc::clone(&self.engine_session));
        sender.close_for_good().await;
    }
}

impl Deref for Connection {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        metrics::gauge!("roost_sockets").decrement(1);
    }
}

/// A tracker whose `wait` ends as soon as it is empty, though more may come.
fn closed_tracker() -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.close();
    tracker
}
