//! What this instance concludes from what the others say of themselves. It is asked only while the database or
//! the journal does not answer, or takes no renewal. See `docs/decisions/0015-speaks-and-peers.md`.

#[cfg(test)]
mod simulation;

use super::App;
use crate::live::{FENCE_AFTER, Link, Peers, SILENT_AFTER, Word};
use std::time::{Duration, Instant};

/// A peer that has not read the revocations for this long cannot read them either. Alike instances know it of
/// each other before the first of their leases has run out, 7 s after their last common success.
const NOT_READ_FOR: Duration = Duration::from_secs(4);
/// A lease that was not renewed for this long is not being renewed: it is every 3 s, and that may take 2 s.
const NOT_RENEWED_FOR: Duration = Duration::from_secs(5);
/// A peer that was not answered for this long has no stores. Shorter, by the pause between two probes, than the
/// patience of an instance with its own, so that those who are cut off together know it of each other.
const NO_STORES_FOR: Duration = Duration::from_secs(3);

/// How a look at the revocations went.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookEnded {
    /// How long after the look before it began.
    pub(super) pause: Duration,
    pub(super) lasted: Duration,
    pub(super) has_failed: bool,
    /// How long ago the lease was renewed; `None`: this instance was never registered.
    pub(super) lease_age: Option<Duration>,
}

/// What an instance knows of itself as a look at the revocations ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Its looks fail, or its renewals do.
    is_behind: bool,
    /// It slept, and was behind ever since: whatever it knows of the others is as old as that.
    has_slept: bool,
}

impl Standing {
    pub(super) fn after(self, look: &LookEnded) -> Self {
        let is_late = look.lease_age.is_some_and(|age| age >= NOT_RENEWED_FOR);
        let is_behind = look.has_failed || is_late;
        // A look that a sleep interrupted may succeed, with what was so before.
        let has_slept = self.has_slept || look.pause.max(look.lasted) > FENCE_AFTER;
        Self {
            is_behind,
            has_slept: is_behind && has_slept,
        }
    }

    /// Whether the fence may be held open if nobody knows more.
    pub(super) const fn may_be_spared(self) -> bool {
        self.is_behind && !self.has_slept
    }
}

impl App {
    /// Whether no other instance can learn which sessions ended, or end one.
    pub(super) fn knows_nobody_more(&self) -> bool {
        let (peers, is_shut) = (&self.live.peers, self.fence().is_shut());
        is_nobody_better_informed(peers, Instant::now(), self.link_up_for(), is_shut)
    }

    /// Whether the stores answer none of the others either.
    pub(super) fn are_stores_lost_everywhere(&self) -> bool {
        are_stores_lost_by_all(&self.live.peers, Instant::now(), self.link_up_for())
    }

    fn link_up_for(&self) -> Option<Duration> {
        self.link().and_then(Link::up_for)
    }
}

/// What was said a while ago keeps a fence open, and opens none that is shut: that takes a word of just now.
/// A link that has just come back may not have brought every word yet. Until it has, what was said before it
/// went does not count, and a shut fence stays shut.
fn is_nobody_better_informed(
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
mod tests {
    use super::*;
    use crate::live::{Beacon, PeerSpeaks, SPEAKS};
    use roost_schema::InstanceId;

    const MOMENT: Duration = Duration::from_millis(1);
    const WELL: LookEnded = LookEnded {
        pause: Duration::from_secs(1),
        lasted: MOMENT,
        has_failed: false,
        lease_age: Some(Duration::from_secs(3)),
    };
    const FAILED: LookEnded = LookEnded {
        has_failed: true,
        ..WELL
    };
    const LATE: LookEnded = LookEnded {
        lease_age: Some(NOT_RENEWED_FOR),
        ..WELL
    };

    fn is_spared_after(looks: &[LookEnded]) -> bool {
        let standing = looks.iter().fold(Standing::default(), Standing::after);
        standing.may_be_spared()
    }

    #[test]
    fn one_whose_looks_or_renewals_fail_may_be_spared() {
        assert!(!is_spared_after(&[WELL]));
        assert!(is_spared_after(&[FAILED]));
        assert!(is_spared_after(&[LATE]));
        assert!(!is_spared_after(&[FAILED, WELL]));
    }

    #[test]
    fn one_that_slept_may_not_before_it_has_caught_up() {
        let long = FENCE_AFTER + MOMENT;
        for slept in [
            LookEnded {
                pause: long,
                ..FAILED
            },
            LookEnded {
                lasted: long,
                ..FAILED
            },
            LookEnded {
                lasted: long,
                ..LATE
            },
        ] {
            assert!(!is_spared_after(&[slept]));
            assert!(!is_spared_after(&[slept, FAILED, LATE, FAILED]));
            assert!(is_spared_after(&[slept, WELL, FAILED]));
        }
    }

    #[test]
    fn a_link_that_has_just_come_back_opens_nothing() {
        let (peers, heard) = (Peers::default(), Instant::now());
        let instance = InstanceId::generate();
        let row = PeerSpeaks {
            instance,
            speaks: SPEAKS,
        };
        peers.set_registered(heard, &[row]);
        let age_ms = u64::try_from(NOT_READ_FOR.as_millis()).unwrap();
        let beacon = Beacon {
            instance,
            revocations_age_ms: Some(age_ms),
            lease_age_ms: None,
            speaks: SPEAKS,
            stores_age_ms: None,
        };
        peers.hear(heard, beacon);
        let is_spared = |silence: Duration, up_for: Duration, is_shut: bool| {
            is_nobody_better_informed(&peers, heard + silence, Some(up_for), is_shut)
        };
        let (just, settled) = (SILENT_AFTER, SILENT_AFTER + MOMENT);
        assert!(is_spared(MOMENT, just, false), "it was said just now");
        assert!(!is_spared(MOMENT, just, true), "another may say more");
        assert!(is_spared(MOMENT, settled, true));
        assert!(!is_spared(settled, just, false), "it was said before");
        assert!(is_spared(settled, settled, false));
        assert!(!is_spared(settled, settled, true), "it has aged");
    }
}
