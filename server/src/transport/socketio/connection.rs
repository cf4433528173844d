//! A socket on this carrier: its way out, the answers it waits for, and its end.

use super::{outbox::Outbox, wire::Wire};
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

/// Events of one socket that wait for their answers. Whoever sends more and does not read is closed.
const ANSWERS_PENDING_MAX: usize = 4_096;

/// How long a client is listened to after the last answer: what it sent on it, or before it heard `server:closing`, is
/// refused, not lost.
const HEARD_WITHIN: Duration = Duration::from_millis(250);

/// A socket is closed within this: it is told so, its commands are answered, and the answers leave.
pub(super) const CLOSE_TIME_MAX: Duration = FAREWELL_PATIENCE
    .saturating_add(HEARD_WITHIN)
    .saturating_add(ANSWERS_PATIENCE)
    .saturating_add(FAREWELL_PATIENCE)
    .saturating_add(FAREWELL_PATIENCE);

/// Lives as long as the socket is connected.
pub(super) struct Connection {
    pub(super) socket: Arc<Socket>,
    /// This run of this instance, for errors.
    pub(super) instance: Arc<str>,
    pub(super) wire: Arc<Wire>,
    /// One token for each event that waits for its answer.
    answers_pending: TaskTracker,
    /// Cancelled when what is not answered yet is answered without its outcome.
    cut_short: CancellationToken,
    /// Whoever waits for all sockets waits for this one.
    _token: TaskTrackerToken,
}

impl Connection {
    pub(super) fn new(
        (app, instance): (App, Arc<str>),
        actor: Actor,
        wire: Arc<Wire>,
        token: TaskTrackerToken,
    ) -> Arc<Self> {
        metrics::gauge!("roost_sockets").increment(1);
        let socket = Socket::new(app, actor, wire.ended().child_token());
        wire.serve(socket.session_end.clone());
        Arc::new(Self {
            socket: Arc::new(socket),
            instance,
            wire,
            answers_pending: closed_tracker(),
            cut_short: CancellationToken::new(),
            _token: token,
        })
    }

    pub(super) fn of(socket: &SocketRef) -> Option<Arc<Self>> {
        socket.extensions.get()
    }

    /// Counts an event until its answer is given. To be called before the event is admitted: so either it sees that the
    /// socket is closing, or whoever closes it sees the event.
    pub(super) fn begin_answer(&self) -> TaskTrackerToken {
        let pending = self.answers_pending.token();
        atomic::fence(Ordering::SeqCst);
        if self.answers_pending.len() > ANSWERS_PENDING_MAX {
            self.wire.cut();
        }
        pending
    }

    /// Cancelled when a command may take no longer.
    pub(super) fn cut_short(&self) -> &CancellationToken {
        &self.cut_short
    }

    /// Closes what a retry can cure: nothing new is begun, the server's word, the answers to what was begun, then the
    /// transport, so that a stock client comes back by itself. A session that ends meanwhile ends at once.
    pub(super) async fn close(&self, socket: SocketRef, code: ErrorCode, retry_after: Duration) {
        if !self.begin_closing() {
            return;
        }
        let closing = ServerClosing {
            code,
            retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        };
        let outbox = Outbox::new(socket.clone(), Arc::clone(&self.wire));
        let last_words = async {
            let said = outbox.tell("server:closing", &closing);
            // A socket that lags does not hear it; its end is the same.
            let _ = timeout(FAREWELL_PATIENCE, said).await;
            self.end(false);
            self.give_answers().await;
            // An instance that is fenced has no time to give.
            if !self.socket.app.fence().is_shut() {
                sleep(HEARD_WITHIN).await;
            }
        };
        let has_said = last_words.with_cancellation_token(&self.session_end).await;
        match has_said {
            Some(()) => outbox.close().await,
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
            // They only have to be said now; who does not read does not hear them.
            let _ = timeout(FAREWELL_PATIENCE, self.answers_pending.wait()).await;
        }
    }

    /// Closes what no retry cures: signed out.
    pub(super) async fn close_for_good(&self, socket: SocketRef) {
        self.end(true);
        let outbox = Outbox::new(socket, Arc::clone(&self.wire));
        outbox.close_for_good().await;
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

/// Whoever waits for it waits until it is empty, not until it is told that no more will come.
fn closed_tracker() -> TaskTracker {
    let tracker = TaskTracker::new();
    tracker.close();
    tracker
}
