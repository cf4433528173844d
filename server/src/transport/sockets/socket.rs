//! A connected socket: the person behind it, its budget of events, and its rooms.

use super::rooms::Memberships;
use crate::{
    app::{Actor, App, Error, FENCED, Result},
    transport::STOPPING,
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};
use parking_lot::Mutex;
use roost_schema::{AuthExpiring, ErrorCode, RenewSocket};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The budget of one socket: its steady rate, and its burst, for a client that comes back with work that waited. Beyond
/// it a command is `rate_limited`.
const EVENTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
const EVENTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(2_500).expect("not zero");

/// Lives as long as the socket is connected.
pub(in crate::transport) struct Socket {
    pub(in crate::transport) app: App,
    pub(super) memberships: Memberships,
    /// Notified when the socket renewed its access.
    pub(in crate::transport) renewed: Notify,
    /// Cancelled when the session is revoked.
    pub(in crate::transport) session_end: CancellationToken,
    actor: Mutex<Actor>,
    budget: DefaultDirectRateLimiter,
    /// Set when new commands are refused.
    is_closing: AtomicBool,
    closed: CancellationToken,
    is_leaving: AtomicBool,
}

impl Socket {
    /// `closed`: cancelled when the socket is no longer connected.
    pub(in crate::transport) fn new(app: App, actor: Actor, closed: CancellationToken) -> Self {
        Self {
            session_end: app.session_end(actor.session_id),
            app,
            memberships: Memberships::new(closed.clone()),
            renewed: Notify::new(),
            actor: Mutex::new(actor),
            budget: RateLimiter::direct(
                Quota::per_second(EVENTS_PER_SECOND).allow_burst(EVENTS_AT_ONCE),
            ),
            is_closing: AtomicBool::new(false),
            closed,
            is_leaving: AtomicBool::new(false),
        }
    }

    pub(in crate::transport) fn actor(&self) -> Actor {
        *self.actor.lock()
    }

    /// Checks that the session, the token and the socket still allow a command.
    pub(in crate::transport) fn check_open(&self) -> Result<Actor> {
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

    /// Counts so many events against the budget. A command that holds more than may come at once counts as that many.
    pub(in crate::transport) fn charge(&self, events: usize) -> Result<()> {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let events = NonZeroU32::new(events).unwrap_or(NonZeroU32::MIN);
        let Ok(Err(not_until)) = self.budget.check_n(events.min(EVENTS_AT_ONCE)) else {
            return Ok(());
        };
        let retry_after = not_until.wait_time_from(self.budget.clock().now());
        Err(Error::Later {
            code: ErrorCode::RateLimited,
            sentence: "too many events on this socket",
            retry_after: retry_after.max(Duration::from_millis(1)),
        })
    }

    /// Refuses new commands from now on; `false`: they were refused already.
    pub(in crate::transport) fn begin_closing(&self) -> bool {
        !self.is_closing.swap(true, Ordering::SeqCst)
    }

    /// Cancelled when the socket is no longer connected.
    pub(in crate::transport) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Whether the person left on purpose, rather than lost the connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Ends the tasks of the socket. `on_purpose`: the person is gone at once, not
    /// moving to another connection.
    pub(in crate::transport) fn end(&self, on_purpose: bool) {
        self.is_leaving.fetch_or(on_purpose, Ordering::AcqRel);
        self.closed.cancel();
    }
}

/// The person who sends a command, and the socket they send it on.
#[derive(Clone)]
pub(in crate::transport) struct Caller {
    pub(in crate::transport) actor: Actor,
    pub(in crate::transport) socket: Arc<Socket>,
}

impl Caller {
    pub(super) fn app(&self) -> &App {
        &self.socket.app
    }

    /// Goes on under a newer token of the same session.
    pub(super) fn renew(&self, input: &RenewSocket) -> Result<AuthExpiring> {
        let renewed = self.app().authenticate(&input.token, self.actor.api)?;
        if renewed.session_id != self.actor.session_id {
            return Err(Error::refused(
                ErrorCode::Invalid,
                "the token belongs to another session",
            ));
        }
        *self.socket.actor.lock() = renewed;
        self.socket.renewed.notify_one();
        Ok(AuthExpiring {
            session_id: renewed.session_id,
            expires_at: renewed.expires_at,
        })
    }
}
