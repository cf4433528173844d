//! What this instance concludes from the beacons of its peers, while the database or the journal does not answer, or
//! takes no renewal. See `docs/decisions/0015-speaks-and-peers.md`.

#[cfg(test)]
mod simulation;

use super::App;
use crate::live::{FENCE_AFTER, Link, Peers, SILENT_AFTER, Word};
use std::time::{Duration, Instant};

/// A peer that has not read the revocations for this long cannot read them either. Instances that are cut off together
/// know it of each other before the first of their leases runs out, 7 s after their last common success.
const NOT_READ_FOR: Duration = Duration::from_secs(4);
/// A lease that was not renewed for this long cannot be renewed: renewals come every 3 s, and may take 2 s.
const NOT_RENEWED_FOR: Duration = Duration::from_secs(5);
/// A peer whose stores did not answer for this long has lost them. It is shorter, by the pause between two probes, than
/// the patience of an instance with its own stores, so that instances that are cut off together know it of each other
/// in time.
const NO_STORES_FOR: Duration = Duration::from_secs(3);

/// How a read of the revocations ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookEnded {
    /// How long after the read before it began.
    pub(super) pause: Duration,
    pub(super) lasted: Duration,
    pub(super) has_failed: bool,
    /// How long ago the lease was renewed; `None`: this instance was never registered.
    pub(super) lease_age: Option<Duration>,
}

/// Whether this instance is behind, and why, as a read of the revocations ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Its reads of the revocations fail, or its renewals.
    is_behind: bool,
    /// It slept, and was behind ever since: the beacons it has are older than that sleep.
    has_slept: bool,
}

impl Standing {
    pub(super) fn after(self, look: &LookEnded) -> Self {
        let is_late = look.lease_age.is_some_and(|age| age >= NOT_RENEWED_FOR);
        let is_behind = look.has_failed || is_late;
        // A read that a sleep interrupted may succeed, with rows from before the sleep.
        let has_slept = self.has_slept || look.pause.max(look.lasted) > FENCE_AFTER;
        Self {
            is_behind,
            has_slept: is_behind && has_slept,
        }
    }

    /// Whether the fence may stay open if no peer is better informed.
    pub(super) const fn may_be_spared(self) -> bool {
        self.is_behind && !self.has_slept
    }
}

impl App {
    /// Whether no peer can read which sessions ended, or end one.
    pub(super) fn is_best_informed(&self) -> bool {
        let (peers, is_shut) = (&self.live.peers, self.fence().is_shut());
        is_no_peer_better_informed(peers, Instant::now(), self.link_up_for(), is_shut)
    }

    /// Whether the stores answer no peer either.
    pub(super) fn are_stores_lost_everywhere(&self) -> bool {
        are_stores_lost_by_all(&self.live.peers, Instant::now(), self.link_up_for())
    }

    fn link_up_for(&self) -> Option<Duration> {
        self.link().and_then(Link::up_for)
    }
}

/// An older beacon may keep a fence open, but only a fresh one may open a shut fence. After the link has come back,
/// beacons of some peers may still be missing. Until they can have arrived, beacons from before the outage do not
/// count, and a shut fence stays shut.
fn is_no_peer_better_informed(
    peers: &Peers,
    now: Instant,
    up_for: Option<Duration>,
    is_shut: bool,
) -> bool {
    let is_settled = up_for.is_some_and(|up_for| up_for > SILENT_AFTER);
    let up_for = up_for.filter(|_| is_settled || !is_shut);
    peers.are_all(now, up_for, |word| {
        cannot_read_revocations(word) && (word.is_fresh() || (is_settled && !is_shut))
    })
}

fn are_stores_lost_by_all(peers: &Peers, now: Instant, up_for: Option<Duration>) -> bool {
    peers.are_all(now, up_for, has_no_stores)
}

fn cannot_read_revocations(word: Word<'_>) -> bool {
    let lease_age = word.age_if_said(|beacon| beacon.lease_age_ms);
    word.age(|beacon| beacon.revocations_age_ms) >= NOT_READ_FOR
        || lease_age.is_some_and(|age| age >= NOT_RENEWED_FOR)
}

fn has_no_stores(word: Word<'_>) -> bool {
    word.age(|beacon| beacon.stores_age_ms) >= NO_STORES_FOR
}

#[cfg(test)]
mod tests;
