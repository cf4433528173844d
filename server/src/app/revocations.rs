//! The revocations: every instance knows within a second which sessions have ended. They are announced on the
//! backplane, and read from the database each second, in case an announcement was lost.

use super::{
    App, Error, Result,
    peers::{LookEnded, Standing},
};
use crate::{
    live::{BootTime, Fence, REVOCATION_KEPT},
    store::{Horizon, RevokedSessions, StoreError, journal::STATEMENT_MAX},
};
use chrono::TimeDelta;
use roost_schema::{ErrorCode, SessionId};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Revocations are read for this much longer than a token lives, because a token is accepted a moment longer.
const REVOCATION_SLACK: Duration = Duration::from_mins(1);
/// How often the revocations are read.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long one read may take.
pub(super) const POLL_PATIENCE: Duration = Duration::from_secs(2);
/// How far each read overlaps the one before, in a database whose rows name no transaction: a row may become visible
/// this much later than its timestamp.
const REREAD: Duration = Duration::from_secs(30);
/// How long the fence stays open, after a failed read, when no peer is better informed. It is longer than from one
/// failed read to the next, and then to a renewal of the lease once the database is back, or for the journal's longest
/// statement. `PostgreSQL`'s longest does not count, because there the journal is in the same database.
///
/// It adds to the 10 s after which a session that ended is refused on every instance: a peer may be better informed 4 s
/// before its beacon arrives here.
pub(super) const EXTENSION: Duration = Duration::from_secs(6);
const _: () =
    assert!(EXTENSION.as_millis() > POLL_PATIENCE.as_millis() + STATEMENT_MAX.as_millis());
/// When a client may come back to a fenced instance.
pub const RETRY_FENCED: Duration = Duration::from_secs(2);

/// The answer of a fenced instance.
pub const FENCED: Error = Error::Later {
    code: ErrorCode::Unavailable,
    sentence: "this instance cannot learn which sessions have ended; nothing was written",
    retry_after: RETRY_FENCED,
};

impl App {
    /// Whether this instance may send and write.
    pub fn fence(&self) -> &Fence {
        self.live.fence()
    }

    /// Reads which sessions have ended, before this instance serves. From then on the fence shuts unless
    /// [`Self::follow_revocations`] runs.
    pub async fn load_revocations(&self) -> Result<()> {
        let began = BootTime::now();
        self.forget_sessions(&self.list_revoked(None).await?.ended);
        self.fence().polled(began);
        Ok(())
    }

    /// Reads the revocations each second until cancelled. The fence shuts when the reads fail for too long.
    pub async fn follow_revocations(&self, cancel: CancellationToken) {
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looked, mut failures) = (BootTime::now(), 0_u32);
        let (mut standing, mut horizon) = (Standing::default(), None);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let began = BootTime::now();
            let pause = began.since(looked);
            looked = began;
            match timeout(POLL_PATIENCE, self.poll_revocations(began, &mut horizon)).await {
                Ok(Ok(())) => failures = 0,
                failed => {
                    if failures == 0 {
                        let error = failed.map_or_else(|late| late.to_string(), outcome);
                        tracing::warn!(%error, "the revocations cannot be read, trying again");
                    }
                    failures += 1;
                }
            }
            standing = standing.after(&LookEnded {
                pause,
                lasted: BootTime::now().since(began),
                has_failed: failures > 0,
                lease_age: self.fence().lease_age(),
            });
            if standing.may_be_spared() && self.is_best_informed() {
                self.fence().extend_by(BootTime::now(), EXTENSION);
            }
        }
    }

    /// Reads on from the horizon of the read before; without one, reads all revocations that are still needed.
    async fn poll_revocations(
        &self,
        began: BootTime,
        horizon: &mut Option<Horizon>,
    ) -> Result<(), StoreError> {
        let look = self.list_revoked(*horizon).await?;
        self.forget_sessions(&look.ended);
        // A horizon that went back is that of a restored database, whose transactions are in another order.
        *horizon = Some(look.horizon).filter(|now| Some(*now) >= *horizon);
        if self.fence().polled(began) {
            self.live.look_everywhere();
        }
        Ok(())
    }

    async fn list_revoked(&self, since: Option<Horizon>) -> Result<RevokedSessions, StoreError> {
        let revocations = &self.store.revocations;
        let Some(horizon) = since else {
            return revocations
                .list(delta(REVOCATION_KEPT + REVOCATION_SLACK))
                .await;
        };
        let since_last = self.fence().age().unwrap_or_default();
        revocations
            .list_since(horizon, delta(since_last + REREAD))
            .await
    }

    /// Refuses the tokens of sessions whose end is committed, and closes their connections, here and on the other
    /// instances.
    pub(super) fn end_everywhere(&self, ended: &[SessionId]) {
        self.forget_sessions(ended);
        self.live.announce_revoked(ended);
    }

    fn forget_sessions(&self, ended: &[SessionId]) {
        for session in ended {
            self.live.revocations.revoke(*session);
        }
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn outcome(failed: Result<(), StoreError>) -> String {
    failed.map_or_else(|error| error.to_string(), |()| String::new())
}
