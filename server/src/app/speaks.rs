//! What instances of different releases may use between them. An instance of an older release serves only when the
//! newer ones have read of it.

use super::{App, Result, instances::LOOK_EVERY};
use crate::{
    live::{BootTime, REGISTRY_KNOWN_FOR, SPEAKS, Spoken},
    store::{KeptInstance, LEASE, StoreError},
};
use std::collections::BTreeMap;
use tokio::time::sleep;

impl App {
    /// Whether formats that came with `number` may be used between instances now: every instance can read them.
    pub fn speaks(&self, number: u32) -> bool {
        self.live.speaks(number)
    }

    /// What may be used between instances now, and which instances hold the rest back.
    pub fn spoken(&self) -> Spoken {
        self.live.spoken()
    }

    /// Waits, once registered, until every instance that speaks more has renewed its lease, and so has read of this
    /// one, or has lost its lease. It also waits until what those instances read before no longer counts.
    ///
    /// Returns when the last renewal of this instance's lease began. `registered`: when its registration began.
    pub(super) async fn wait_to_be_known(&self, registered: BootTime) -> Result<BootTime> {
        let (since, mut renewed) = (BootTime::now(), registered);
        let mut leases = None;
        loop {
            match self.is_known(&mut leases).await {
                Ok(true) if leases.iter().all(BTreeMap::is_empty) => return Ok(renewed),
                Ok(is_known) => {
                    if is_known && BootTime::now().since(since) >= REGISTRY_KNOWN_FOR {
                        return Ok(renewed);
                    }
                }
                Err(StoreError::Unavailable(_)) if BootTime::now().since(since) < 2 * LEASE => {}
                Err(error) => return Err(error.into()),
            }
            sleep(LOOK_EVERY).await;
            let began = BootTime::now();
            if let Ok(true) = self.store.instances.renew(self.instance().id).await {
                renewed = began;
            }
        }
    }

    /// Whether every instance that speaks more has read of this one. `leases`: their leases at the first call.
    async fn is_known(
        &self,
        leases: &mut Option<BTreeMap<roost_schema::InstanceId, chrono::DateTime<chrono::Utc>>>,
    ) -> Result<bool, StoreError> {
        let mut more = self.store.instances.others(self.instance().id).await?;
        more.retain(|other| other.speaks > SPEAKS);
        let is_first = leases.is_none();
        let leases = leases.get_or_insert_with(|| {
            let lease = |other: &KeptInstance| (other.id, other.lease_until);
            more.iter().map(lease).collect()
        });
        if is_first && let Some(other) = more.first() {
            tracing::warn!(
                other.id = %other.id, other.name = %other.name, other.speaks = other.speaks,
                "an instance of a later release runs; waiting until it knows of this one"
            );
        }
        let has_renewed = |other: &KeptInstance| {
            let first = leases.get(&other.id);
            first.is_none_or(|first| *first < other.lease_until)
        };
        Ok(more.iter().all(has_renewed))
    }
}
