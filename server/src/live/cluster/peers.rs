//! The other instances: which are registered in the database, and what each last said of itself.

use super::speaks::PeerSpeaks;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::InstanceId;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How often an instance says that it lives.
pub const BEACON_EVERY: Duration = Duration::from_secs(1);
/// An instance whose last beacon is older than this is silent.
pub const SILENT_AFTER: Duration = Duration::from_millis(2_500);
/// How long a row of the registry holds after it was renewed. An instance whose last beacon is as old counts as
/// gone.
pub const REGISTRY_LEASE: Duration = Duration::from_secs(10);

/// What an instance says of itself each second.
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

/// Who else there is.
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
    /// What it speaks, as its row says, if the registry names it.
    registered: Option<u32>,
    known_since: Instant,
    heard: Option<(Instant, Beacon)>,
    /// It was silent for a lease while it could have been heard; until it is heard, or seen in the registry.
    is_gone: bool,
}

/// What another instance last said, and how long ago that was. Silence counts only while this
/// instance's own link is up: an instance that does not receive its own messages concludes nothing from the silence of others.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    beacon: Option<&'a Beacon>,
    is_fresh: bool,
    silence: Duration,
    known_for: Duration,
}

impl Word<'_> {
    /// Whether it was said just now.
    pub const fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// How long ago that instance last succeeded in something, if it did not since it was heard. One that never did has
    /// not for as long as it is known.
    pub fn age(&self, said: impl Fn(&Beacon) -> Option<u64>) -> Duration {
        self.age_if_said(said).unwrap_or(self.known_for)
    }

    /// The same; `None` when it says nothing of it.
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

    /// How long ago the last beacon of an instance came, and what it said.
    pub fn last_heard(&self, instance: InstanceId) -> Option<(Duration, Beacon)> {
        let known = self.known();
        let (at, beacon) = known.peers.get(&instance)?.heard.as_ref()?;
        Some((at.elapsed(), beacon.clone()))
    }

    /// Whether a registered instance says nothing on the backplane. A registry that was not read for a lease names
    /// nobody any more but those who are heard.
    pub fn is_any_silent(&self) -> bool {
        let now = Instant::now();
        let known = self.known();
        let is_read = known
            .read_at
            .is_some_and(|at| now.saturating_duration_since(at) <= REGISTRY_LEASE);
        known.peers.values().any(|peer| {
            let heard = peer.heard.as_ref().map(|(at, _)| at);
            let is_silent =
                heard.is_none_or(|at| now.saturating_duration_since(*at) > SILENT_AFTER);
            let may_live = is_read || now.saturating_duration_since(peer.seen()) <= REGISTRY_LEASE;
            peer.registered.is_some() && is_silent && may_live
        })
    }

    /// What each that is registered, or was heard lately, speaks.
    pub fn speaks(&self) -> Vec<PeerSpeaks> {
        let mut known = self.known();
        known.forget(Instant::now());
        let speaks = |(instance, peer): (&InstanceId, &Peer)| {
            let said = peer.heard.as_ref().map(|(_, beacon)| beacon.speaks);
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

    /// Whether all others are known to be alike in something, by what each last said; true for an instance that is
    /// alone. `up_for`: for how long this instance's own canary has come back; `None`: it does not.
    ///
    /// An instance without a beacon for a lease is gone, and says nothing. Without a link nothing is known of any.
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
        peer.heard = Some((now, beacon));
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
            heard: None,
            is_gone: false,
        })
    }

    /// One that has just come may not be known to be registered; one that ended is heard no more.
    fn forget(&mut self, now: Instant) {
        let is_heard = |peer: &Peer| now.saturating_duration_since(peer.seen()) <= REGISTRY_LEASE;
        self.peers
            .retain(|_, peer| peer.registered.is_some() || is_heard(peer));
    }
}

impl Peer {
    /// When there was last a sign of it.
    fn seen(&self) -> Instant {
        self.heard.as_ref().map_or(self.known_since, |(at, _)| *at)
    }

    fn word(&self, now: Instant, up_for: Duration) -> Word<'_> {
        let heard = self.heard.as_ref();
        let is_fresh =
            heard.is_some_and(|(at, _)| now.saturating_duration_since(*at) <= SILENT_AFTER);
        Word {
            beacon: heard.map(|(_, beacon)| beacon),
            is_fresh,
            silence: now.saturating_duration_since(self.seen()).min(up_for),
            known_for: now.saturating_duration_since(self.known_since).min(up_for),
        }
    }
}
