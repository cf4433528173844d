//! The registry of instances: this instance's leased row, and the other instances.

use super::{App, Error, Result};
use crate::{
    live::{BootTime, Identity, Link, PeerSpeaks, REGISTRY_LEASE, SPEAKS},
    store::{KeptInstance, LEASE, NewInstance, StoreError},
};
use chrono::TimeDelta;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How often the lease is renewed and the registry read.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long the database may take for a renewal.
pub(super) const RENEW_PATIENCE: Duration = Duration::from_secs(2);
/// How long after a failed renewal the next is tried.
pub(super) const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// How often an instance reads the registry while it waits for others to end.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A waiting instance waits this much longer than a lease, to see a renewal that is under way.
const LEASE_SLACK: Duration = Duration::from_secs(1);

const _: () = assert!(
    LEASE.as_secs() == REGISTRY_LEASE.as_secs(),
    "peers are judged by the lease that the registry grants"
);

/// Why an instance may not run beside others.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error(
        "instance {name:?} ({id}) runs on this database already, and the two would not hear each other: \
         give every instance the same redis_url, or stop that one first"
    )]
    Deaf { name: String, id: String },
    #[error(transparent)]
    Failed(#[from] Error),
}

impl App {
    /// This run of this instance.
    pub fn instance(&self) -> &Identity {
        self.live.identity()
    }

    /// The link to the other instances; `None`: this instance is configured without Redis.
    pub fn link(&self) -> Option<Link> {
        self.live.link()
    }

    /// How far the database's clock is ahead of this host's.
    pub fn clock_offset(&self) -> TimeDelta {
        self.store.clock.offset()
    }

    /// Whether this host's clock is off by more than half a minute: `degraded`.
    pub fn is_clock_adrift(&self) -> bool {
        self.store.clock.is_adrift()
    }

    /// The other instances whose lease runs.
    pub async fn list_other_instances(&self) -> Result<Vec<KeptInstance>> {
        Ok(self.store.instances.others(self.instance().id).await?)
    }

    /// Registers this instance before it serves. When other instances run and not all have Redis, it waits for one
    /// lease, because they may have crashed. When instances of a later release run, it waits until they have read of
    /// this one.
    ///
    /// Errors: `Deaf` when one of them renewed its lease meanwhile.
    pub async fn join_instances(&self) -> Result<(), NotAdmitted> {
        let own = self.registration();
        let until = Instant::now() + LEASE + LEASE_SLACK;
        let mut first_seen = BTreeMap::new();
        let began = loop {
            let began = BootTime::now();
            let others = match self.store.instances.admit(&own).await {
                // On a busy host the first connections to the database may take long.
                Err(StoreError::Unavailable(_)) if Instant::now() < until => {
                    sleep(LOOK_EVERY).await;
                    continue;
                }
                others => others.map_err(Error::from)?,
            };
            let Some(first) = others.first() else {
                break began;
            };
            if first_seen.is_empty() {
                tracing::warn!(
                    other.id = %first.id, other.name = %first.name,
                    "another instance is registered and not every one has a redis_url; \
                     waiting up to {} s for its lease to run out", LEASE.as_secs()
                );
            }
            for other in &others {
                first_seen.entry(other.id).or_insert(other.lease_until);
            }
            let has_renewed = |other: &&KeptInstance| first_seen[&other.id] < other.lease_until;
            if Instant::now() > until
                && let Some(other) = others.iter().find(has_renewed)
            {
                return Err(NotAdmitted::Deaf {
                    name: other.name.clone(),
                    id: other.id.to_string(),
                });
            }
            sleep(LOOK_EVERY).await;
        };
        self.hold_lease(began).await?;
        self.live.has_joined();
        Ok(())
    }

    /// Renews the lease and reads the other instances, until cancelled.
    ///
    /// Errors: `Deaf` when the lease had run out and another instance has begun in its place.
    pub async fn stay_registered(&self, cancel: CancellationToken) -> Result<(), NotAdmitted> {
        let mut ticks = interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut failures, mut is_known) = (0_u32, true);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let began = BootTime::now();
            match timeout(RENEW_PATIENCE, self.renew_lease(&mut is_known)).await {
                Ok(Ok(())) => failures = 0,
                Ok(Err(deaf @ NotAdmitted::Deaf { .. })) => return Err(deaf),
                Ok(Err(NotAdmitted::Failed(error))) => {
                    if failures == 0 {
                        tracing::warn!(%error, "the lease is not renewed, trying again");
                    }
                    failures += 1;
                }
                Err(_) => failures += 1,
            }
            if failures > 0 {
                ticks.reset_after(RENEW_AGAIN);
                continue;
            }
            if is_known {
                self.fence().leased(began);
            } else {
                let holding = cancel.run_until_cancelled(self.hold_lease(began)).await;
                is_known = matches!(holding, Some(Ok(())));
            }
        }
        Ok(())
    }

    /// Ends the lease, so that the other instances need not wait for it to run out.
    pub async fn leave_instances(&self) {
        let removal = self.store.instances.remove(self.instance().id);
        match timeout(RENEW_PATIENCE, removal).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(?error, "the lease is left to run out"),
            Err(_) => tracing::warn!("the lease is left to run out: the database does not answer"),
        }
    }

    /// Starts the lease once the other instances have read of this one. `registered`: when its registration began.
    async fn hold_lease(&self, registered: BootTime) -> Result<()> {
        let renewed = self.wait_to_be_known(registered).await?;
        self.update_peers().await?;
        self.fence().leased(renewed);
        Ok(())
    }

    /// Renews the lease. Sets `is_known` to false when this instance has to be registered again.
    async fn renew_lease(&self, is_known: &mut bool) -> Result<(), NotAdmitted> {
        let own = self.registration();
        let is_renewed = self.store.instances.renew(own.id).await;
        if !is_renewed.map_err(Error::from)? {
            *is_known = false;
            tracing::warn!("the lease had run out; registering again");
            let others = self.store.instances.admit(&own).await;
            let others = others.map_err(Error::from)?;
            if let Some(other) = others.first() {
                return Err(NotAdmitted::Deaf {
                    name: other.name.clone(),
                    id: other.id.to_string(),
                });
            }
        }
        self.update_peers().await?;
        Ok(())
    }

    async fn update_peers(&self) -> Result<()> {
        let others = self.list_other_instances().await?;
        metrics::gauge!("roost_instances_registered").set(1.0 + f64::from(count(others.len())));
        let least = others.iter().map(|other| other.speaks).min();
        if let Some(least) = least.filter(|least| *least < SPEAKS) {
            self.store.instances.note_lower(least).await?;
        }
        let speaks = |other: &KeptInstance| PeerSpeaks {
            instance: other.id,
            speaks: other.speaks,
        };
        let others: Vec<_> = others.iter().map(speaks).collect();
        self.live
            .peers
            .set_registered(Instant::now().into_std(), &others);
        Ok(())
    }

    fn registration(&self) -> NewInstance {
        let own = self.instance();
        NewInstance {
            id: own.id,
            name: own.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            has_redis: self.live.link().is_some(),
            speaks: SPEAKS,
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
