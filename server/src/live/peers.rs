//! The other instances: which are registered in the database, and when each was last heard of.

use roost_schema::InstanceId;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often an instance says that it lives.
pub const BEACON_EVERY: Duration = Duration::from_secs(1);
/// An instance that was not heard of for this long is silent.
pub const SILENT_AFTER: Duration = Duration::from_millis(2_500);

/// What an instance says of itself each second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beacon {
    pub instance: InstanceId,
    /// How long ago it has completed a look at the revocations, in milliseconds; none: never.
    #[serde(default)]
    pub revocations_age_ms: Option<u64>,
    /// How long ago database and journal answered it, in milliseconds; none: never.
    #[serde(default)]
    pub stores_age_ms: Option<u64>,
}

/// Who else there is.
#[derive(Debug, Default)]
pub struct Peers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    registered: Vec<InstanceId>,
    heard: HashMap<InstanceId, (Instant, Beacon)>,
}

impl Peers {
    /// The other instances whose lease in the database runs.
    pub fn set_registered(&self, registered: Vec<InstanceId>) {
        self.known().registered = registered;
    }

    pub fn registered(&self) -> Vec<InstanceId> {
        self.known().registered.clone()
    }

    /// How long ago an instance was last heard of, and what it said.
    pub fn last_heard(&self, instance: InstanceId) -> Option<(Duration, Beacon)> {
        let known = self.known();
        let (at, beacon) = known.heard.get(&instance)?;
        Some((at.elapsed(), beacon.clone()))
    }

    /// Whether a registered instance says nothing on the backplane.
    pub fn is_any_silent(&self) -> bool {
        let known = self.known();
        known.registered.iter().any(|instance| {
            let heard = known.heard.get(instance);
            heard.is_none_or(|(at, _)| at.elapsed() > SILENT_AFTER)
        })
    }

    /// Whether all others are known to be alike in something, each by what it said just now. True
    /// for an instance that is alone.
    pub fn are_all(&self, is_so: impl Fn(&Beacon, Duration) -> bool) -> bool {
        let known = self.known();
        let is_fresh = |at: &Instant| at.elapsed() <= SILENT_AFTER;
        let mut registered = known.registered.iter();
        let are_heard = registered.all(|instance| {
            let heard = known.heard.get(instance);
            heard.is_some_and(|(at, _)| is_fresh(at))
        });
        // One that has just come may not be known to be registered.
        let mut fresh = known.heard.values().filter(|(at, _)| is_fresh(at));
        are_heard && fresh.all(|(at, beacon)| is_so(beacon, at.elapsed()))
    }

    pub(super) fn hear(&self, beacon: Beacon) {
        const FORGET_AFTER: Duration = Duration::from_mins(1);
        let mut known = self.known();
        known.heard.retain(|_, (at, _)| at.elapsed() < FORGET_AFTER);
        known
            .heard
            .insert(beacon.instance, (Instant::now(), beacon));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
