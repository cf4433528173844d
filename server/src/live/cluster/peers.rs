//! The other instances: which are registered in the database, and the last beacon of each.

use super::speaks::PeerSpeaks;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::InstanceId;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How often an instance sends a beacon.
pub const BEACON_EVERY: Duration = Duration::from_secs(1);
/// An instance whose last beacon is older than this is silent.
pub const SILENT_AFTER: Duration = Duration::from_millis(2_500);
/// How long a row of the registry holds after it was renewed. An instance whose last beacon is as old counts as
/// gone.
pub const REGISTRY_LEASE: Duration = Duration::from_secs(10);

/// What an instance sends of itself each second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beacon {
    pub instance: InstanceId,
    /// How long ago it has completed a look at the revocations, in milliseconds; none: never.
    #[serde(default)]
    pub revocations_age_ms: Option<u64>,
    /// How long ago it has renewed its lease, in milliseconds; none: never, or a release that does not say so.
    #[serde(default)]
    pub lease_age_ms: Option<u64>,
    /// What it understands of others; releases that do not say so: 0.
    #[serde(default)]
    pub speaks: u32,
    /// How long ago database and journal answered it, in milliseconds; none: never.
    #[serde(default)]
    pub stores_age_ms: Option<u64>,
}

/// The other instances that this one knows of.
#[derive(Debug, Default)]
pub struct Peers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    peers: HashMap<InstanceId, Peer>,
    /// When the registry was last read.
    read_at: Option<Instant>,
}

#[derive(Debug)]
struct Peer {
    /// What it speaks by its row; `None`: the registry has no row of it.
    registered: Option<u32>,
    known_since: Instant,
    last_beacon: Option<(Instant, Beacon)>,
    /// Whether it was silent for a lease while this instance's link was up. Its next beacon, or its row, ends that.
    is_gone: bool,
}

/// The last beacon of another instance, and how long ago it came. Silence counts only while this instance's own link is
/// up: an instance that does not receive its own messages concludes nothing from the silence of others.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    beacon: Option<&'a Beacon>,
    is_fresh: bool,
    silence: Duration,
    known_for: Duration,
}

impl Word<'_> {
    /// Whether the beacon came just now.
    pub const fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// How long ago that instance last succeeded in something, if it has not since its beacon. One that never succeeded
    /// counts as failing for as long as it is known.
    pub fn age(&self, said: impl Fn(&Beacon) -> Option<u64>) -> Duration {
        self.age_if_said(said).unwrap_or(self.known_for)
    }

    /// Like [`Word::age`]; `None` when the beacon does not say.
    pub fn age_if_said(&self, said: impl Fn(&Beacon) -> Option<u64>) -> Option<Duration> {
        let age_ms = self.beacon.and_then(said)?;
        Some(Duration::from_millis(age_ms).saturating_add(self.silence))
    }
}

impl Peers {
    /// The other instances whose lease in the database runs, and what they speak.
    pub fn set_registered(&self, now: Instant, registered: &[PeerSpeaks]) {
        let mut known = self.known();
        known.read_at = Some(now);
        for peer in known.peers.values_mut() {
            peer.registered = None;
        }
        for row in registered {
            let peer = known.peer(row.instance, now);
            peer.registered = Some(row.speaks);
            peer.is_gone = false;
        }
        known.forget(now);
    }

    /// The last beacon of an instance, and how long ago it came.
    pub fn last_beacon(&self, instance: InstanceId) -> Option<(Duration, Beacon)> {
        let known = self.known();
        let (at, beacon) = known.peers.get(&instance)?.last_beacon.as_ref()?;
        Some((at.elapsed(), beacon.clone()))
    }

    /// Whether a registered instance sends no beacons. When the registry was not read for a lease, only instances with
    /// a beacon within that time count: the others may have ended.
    pub fn is_any_silent(&self) -> bool {
        let now = Instant::now();
        let known = self.known();
        let is_read = known
            .read_at
            .is_some_and(|at| now.saturating_duration_since(at) <= REGISTRY_LEASE);
        known.peers.values().any(|peer| {
            let received = peer.last_beacon.as_ref().map(|(at, _)| at);
            let is_silent =
                received.is_none_or(|at| now.saturating_duration_since(*at) > SILENT_AFTER);
            let may_live = is_read || now.saturating_duration_since(peer.seen()) <= REGISTRY_LEASE;
            peer.registered.is_some() && is_silent && may_live
        })
    }

    /// What each instance speaks that is registered or has sent a beacon lately.
    pub fn speaks(&self) -> Vec<PeerSpeaks> {
        let mut known = self.known();
        known.forget(Instant::now());
        let speaks = |(instance, peer): (&InstanceId, &Peer)| {
            let said = peer.last_beacon.as_ref().map(|(_, beacon)| beacon.speaks);
            let numbers = peer.registered.into_iter().chain(said);
            PeerSpeaks {
                instance: *instance,
                speaks: numbers.min().unwrap_or(0),
            }
        };
        let mut all: Vec<_> = known.peers.iter().map(speaks).collect();
        all.sort();
        all
    }

    /// Whether `is_so` holds for all other instances, by the last beacon of each; true for an instance that is alone.
    /// `up_for`: for how long this instance's own canary has come back; `None`: it does not.
    ///
    /// An instance without a beacon for a lease is gone, and is not asked. Without a link the answer is no.
    pub fn are_all(
        &self,
        now: Instant,
        up_for: Option<Duration>,
        is_so: impl Fn(Word<'_>) -> bool,
    ) -> bool {
        let mut known = self.known();
        known.forget(now);
        if known.peers.is_empty() {
            return true;
        }
        let Some(up_for) = up_for else {
            return false;
        };
        for peer in known.peers.values_mut() {
            let silence = now.saturating_duration_since(peer.seen());
            peer.is_gone |= silence.min(up_for) > REGISTRY_LEASE;
        }
        let mut others = known.peers.values().filter(|peer| !peer.is_gone);
        others.all(|peer| is_so(peer.word(now, up_for)))
    }

    pub(crate) fn receive(&self, now: Instant, beacon: Beacon) {
        let mut known = self.known();
        known.forget(now);
        let peer = known.peer(beacon.instance, now);
        peer.last_beacon = Some((now, beacon));
        peer.is_gone = false;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }
}

impl Known {
    fn peer(&mut self, instance: InstanceId, now: Instant) -> &mut Peer {
        self.peers.entry(instance).or_insert(Peer {
            registered: None,
            known_since: now,
            last_beacon: None,
            is_gone: false,
        })
    }

    /// Forgets the instances without a row and without a recent beacon. A new one may send beacons before its row was
    /// read here; one that ended has neither.
    fn forget(&mut self, now: Instant) {
        let is_recent = |peer: &Peer| now.saturating_duration_since(peer.seen()) <= REGISTRY_LEASE;
        self.peers
            .retain(|_, peer| peer.registered.is_some() || is_recent(peer));
    }
}

impl Peer {
    /// When its last beacon came; before the first, when it became known.
    fn seen(&self) -> Instant {
        self.last_beacon
            .as_ref()
            .map_or(self.known_since, |(at, _)| *at)
    }

    fn word(&self, now: Instant, up_for: Duration) -> Word<'_> {
        let last = self.last_beacon.as_ref();
        let is_fresh =
            last.is_some_and(|(at, _)| now.saturating_duration_since(*at) <= SILENT_AFTER);
        Word {
            beacon: last.map(|(_, beacon)| beacon),
            is_fresh,
            silence: now.saturating_duration_since(self.seen()).min(up_for),
            known_for: now.saturating_duration_since(self.known_since).min(up_for),
        }
    }
}
