//! The fence: an instance that does not know which sessions ended sends and writes nothing.
//!
//! A look at the revocations is good for nine and a half seconds by a clock that goes on while the process sleeps, so
//! that one that was suspended notices before its first frame and its first commit. It is good no longer than the
//! lease in the registry: others count on it that one whose lease ran out sends nothing. The check is one load
//! and one look at the clock. See `docs/decisions/0012-registry-and-fence.md` and `0015-speaks-and-peers.md`.

use super::peers::REGISTRY_LEASE;
use crate::store::journal::Gate;
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How long the revocations that were read may be acted upon. Sessions are promised to end within ten seconds; the
/// other half second is for closing their connections.
pub const FENCE_AFTER: Duration = Duration::from_millis(9_500);
/// How often the fence is checked for tasks that wait for it to shut.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// In a mark: nothing has succeeded yet. In a deadline: it never passes.
const NEVER: u64 = u64::MAX;

/// Milliseconds since the host started, sleep included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    pub fn now() -> Self {
        // macOS has no such clock, but its monotonic clock goes on during sleep.
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let now = clock_gettime(CLOCK);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or_default();
        Self(seconds * 1_000 + millis)
    }

    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn after(self, pause: Duration) -> Self {
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(pause_ms))
    }
}

/// When something last succeeded.
#[derive(Debug)]
pub struct Mark(AtomicU64);

impl Default for Mark {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Mark {
    pub fn set(&self, at: BootTime) {
        self.0.store(at.0, Ordering::Release);
    }

    /// How long ago it was; `None`: never.
    pub fn age(&self) -> Option<Duration> {
        Some(BootTime::now().since(self.at()?))
    }

    fn at(&self) -> Option<BootTime> {
        let at = self.0.load(Ordering::Acquire);
        (at != NEVER).then_some(BootTime(at))
    }
}

/// Whether this instance may send and write. Clones share it.
#[derive(Clone, Debug)]
pub struct Fence(Arc<State>);

#[derive(Debug)]
struct State {
    /// Until when the fence is open. It is never shut before the first look at the revocations.
    open_until_ms: AtomicU64,
    /// Until when the revocations that were read may be acted upon, whatever the lease.
    known_until_ms: AtomicU64,
    polled: Mark,
    leased: Mark,
    is_shut: watch::Sender<bool>,
}

impl Default for Fence {
    fn default() -> Self {
        Self(Arc::new(State {
            open_until_ms: AtomicU64::new(NEVER),
            known_until_ms: AtomicU64::new(NEVER),
            polled: Mark::default(),
            leased: Mark::default(),
            is_shut: watch::Sender::new(false),
        }))
    }
}

impl Fence {
    /// Whether nothing may be sent or written, from the very moment on. Cheap enough for hot paths.
    pub fn is_shut(&self) -> bool {
        BootTime::now().0 > self.0.open_until_ms.load(Ordering::Acquire)
    }

    /// The fence as the journal asks it: a statement is sent only if the fence is sure to be open until the statement
    /// is over.
    pub fn gate(&self) -> Arc<dyn Gate> {
        Arc::<State>::clone(&self.0)
    }

    /// Resolves soon after the fence is shut.
    pub async fn shut(&self) {
        let mut is_shut = self.0.is_shut.subscribe();
        if is_shut.wait_for(|is_shut| *is_shut).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How long ago the last completed look at the revocations began; `None`: there was none.
    pub fn age(&self) -> Option<Duration> {
        self.0.polled.age()
    }

    /// How long ago the last renewal of the lease began that succeeded; `None`: this instance was never registered.
    pub fn lease_age(&self) -> Option<Duration> {
        self.0.leased.age()
    }

    /// Notes that the lease was renewed by a statement that was sent at `began` or later.
    pub fn leased(&self, began: BootTime) {
        self.0.leased.set(began);
    }

    /// Notes that a look at the revocations which began then has completed. Answers whether the fence was shut.
    pub fn polled(&self, began: BootTime) -> bool {
        let was_shut = self.is_shut();
        self.0.polled.set(began);
        let known_until = began.after(FENCE_AFTER);
        let leased_until = self.0.leased.at().map(|at| at.after(REGISTRY_LEASE));
        extend(&self.0.known_until_ms, known_until);
        self.renew_until(leased_until.map_or(known_until, |until| until.min(known_until)));
        // A look that took longer than `FENCE_AFTER` does not open the fence.
        self.update() || was_shut
    }

    /// Keeps the fence open for a while, because no instance knows of later revocations than this one.
    pub fn extend_by(&self, now: BootTime, pause: Duration) {
        extend(&self.0.known_until_ms, now.after(pause));
        self.renew_until(now.after(pause));
    }

    fn renew_until(&self, until: BootTime) {
        extend(&self.0.open_until_ms, until);
    }

    /// Wakes the tasks that wait for the fence to shut; answers whether it was shut and is open now.
    fn update(&self) -> bool {
        let is_shut = self.is_shut();
        let mut has_opened = false;
        self.0.is_shut.send_if_modified(|known| {
            let has_changed = *known != is_shut;
            has_opened = has_changed && !is_shut;
            *known = is_shut;
            has_changed
        });
        has_opened
    }

    /// Checks the fence for the tasks that wait, until cancelled.
    pub(in crate::live) async fn keep_watch(self, cancel: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_shut = false;
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            self.update();
            let is_shut = *self.0.is_shut.borrow();
            match (was_shut, is_shut) {
                (false, true) => tracing::error!(
                    "the revocations were not read, or the lease not renewed, for too long: nothing is sent or \
                     written until they are"
                ),
                (true, false) => tracing::info!("the revocations were read again, under a lease"),
                _ => {}
            }
            metrics::gauge!("roost_fenced").set(f64::from(u8::from(is_shut)));
            was_shut = is_shut;
        }
    }
}

impl Gate for State {
    /// Whether a statement that takes up to `longest` may be sent. It must be over before the revocations that were
    /// read are too old. The lease only has to run when it is sent: a lease of 10 s, renewed every 3 s, may have less
    /// left than the 6 s that a statement may take.
    fn is_open_for(&self, longest: Duration) -> bool {
        let now = BootTime::now();
        now.0 <= self.open_until_ms.load(Ordering::Acquire)
            && now.after(longest).0 <= self.known_until_ms.load(Ordering::Acquire)
    }
}

/// Sets a deadline for the first time, and after that only moves it later.
fn extend(until_ms: &AtomicU64, until: BootTime) {
    let later = |known| (known == NEVER || known < until.0).then_some(until.0);
    let _ = until_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
}

#[cfg(test)]
mod tests;
