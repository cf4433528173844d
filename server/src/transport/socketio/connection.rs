//! A socket connected to the namespace: the person behind it, what it may still ask, and its end.

use super::{outbox::Outbox, rooms::Places, wire::Wire};
use crate::{
    app::{Actor, App, Error, FENCED, Result},
    transport::{ANSWERS_PATIENCE, FAREWELL_PATIENCE, STOPPING, answers_patience},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use parking_lot::Mutex;
use roost_schema::{ErrorCode, Failure, ServerClosing};
use socketioxide::extract::SocketRef;
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{self, AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::{
    future::FutureExt,
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// What one socket may ask: steadily, and at once, when it comes back with work that waited. Beyond
/// it: `rate_limited`.
const EVENTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
const EVENTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(2_500).expect("not zero");

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
    pub(super) app: App,
    /// This run of this instance, for errors.
    pub(super) instance: Arc<str>,
    pub(super) wire: Arc<Wire>,
    pub(super) places: Places,
    /// Notified when the socket renewed its access.
    pub(super) renewed: Notify,
    /// Cancelled when the session is revoked.
    pub(super) session_end: CancellationToken,
    actor: Mutex<Actor>,
    budget: DefaultDirectRateLimiter,
    /// One token for each event that waits for its answer.
    answers_pending: TaskTracker,
    /// Nothing new is begun for the socket.
    is_closing: AtomicBool,
    /// Cancelled when what is not answered yet is answered without its outcome.
    cut_short: CancellationToken,
    closed: CancellationToken,
    is_leaving: AtomicBool,
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
        let closed = wire.ended().child_token();
        let session_end = app.session_end(actor.session_id);
        wire.serve(session_end.clone());
        Arc::new(Self {
            session_end,
            app,
            instance,
            wire,
            places: Places::new(closed.clone()),
            renewed: Notify::new(),
            actor: Mutex::new(actor),
            budget: RateLimiter::direct(
                Quota::per_second(EVENTS_PER_SECOND).allow_burst(EVENTS_AT_ONCE),
            ),
            answers_pending: closed_tracker(),
            is_closing: AtomicBool::new(false),
            cut_short: CancellationToken::new(),
            closed,
            is_leaving: AtomicBool::new(false),
            _token: token,
        })
    }

    pub(super) fn of(socket: &SocketRef) -> Option<Arc<Self>> {
        socket.extensions.get()
    }

    pub(super) fn actor(&self) -> Actor {
        *self.actor.lock()
    }

    /// Goes on under a newer token of the same session.
    pub(super) fn renew(&self, actor: Actor) {
        *self.actor.lock() = actor;
        self.renewed.notify_one();
    }

    /// Checks that the person may still act, and by this socket.
    pub(super) fn check_open(&self) -> Result<Actor> {
        let actor = self.actor();
        if self.session_end.is_cancelled() {
            return Err(Error::refused(
                ErrorCode::SessionRevoked,
                "the session was ended",
            ));
        }
        if self.app.fence().is_shut() {
            return Err(FENCED);
        }
        if self.app.time_left(&actor).is_zero() {
            return Err(Error::unauthenticated());
        }
        if self.is_closing.load(Ordering::SeqCst) {
            return Err(STOPPING);
        }
        Ok(actor)
    }

    /// Counts one event against the budget, and checks that the person may still act.
    pub(super) fn admit(&self) -> Result<Actor, Failure> {
        let admitted = self.check_open().and_then(|actor| {
            self.count(NonZeroU32::MIN)?;
            Ok(actor)
        });
        admitted.map_err(|error| error.report())
    }

    /// Counts what an event holds, the first of which was counted with it.
    pub(super) fn charge(&self, parts: usize) -> Result<()> {
        let more = u32::try_from(parts.saturating_sub(1)).unwrap_or(u32::MAX);
        match NonZeroU32::new(more) {
            Some(more) => self.count(more.min(EVENTS_AT_ONCE)),
            None => Ok(()),
        }
    }

    fn count(&self, events: NonZeroU32) -> Result<()> {
        // More than may come at once was cut to that.
        let Ok(Err(not_until)) = self.budget.check_n(events) else {
            return Ok(());
        };
        let retry_after = not_until.wait_time_from(self.budget.clock().now());
        Err(Error::Later {
            code: ErrorCode::RateLimited,
            sentence: "too many events on this socket",
            retry_after: retry_after.max(Duration::from_millis(1)),
        })
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

    /// Cancelled when the socket is no longer connected.
    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Whether the person left on purpose, rather than lost the connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Ends everything that runs for the socket. `on_purpose`: the person is gone at once, not
    /// moving to another connection.
    pub(super) fn end(&self, on_purpose: bool) {
        self.is_leaving.fetch_or(on_purpose, Ordering::AcqRel);
        self.closed.cancel();
    }

    /// Closes what a retry can cure: nothing new is begun, the server's word, the answers to what was begun, then the
    /// transport, so that a stock client comes back by itself. A session that ends meanwhile ends at once.
    pub(super) async fn close(&self, socket: SocketRef, code: ErrorCode, retry_after: Duration) {
        if self.is_closing.swap(true, Ordering::SeqCst) {
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
            if !self.app.fence().is_shut() {
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
        let patience = answers_patience(self.app.fence());
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

/// Who sends a command, and from which socket.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) app: App,
    pub(super) actor: Actor,
    pub(super) connection: Arc<Connection>,
}
