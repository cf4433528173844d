//! What this instance concludes from what the others say of themselves. It is asked only while the database or
//! the journal does not answer, or takes no renewal. See `docs/decisions/0015-speaks-and-peers.md`.

#[cfg(test)]
mod simulation;

use super::App;
use crate::live::{Link, Peers, Word};
use std::time::{Duration, Instant};

/// A peer that has not read the revocations for this long cannot read them either. Alike instances know it of
/// each other before the first of their leases has run out, 7 s after their last common success.
const NOT_READ_FOR: Duration = Duration::from_secs(4);
/// A lease that was not renewed for this long is not being renewed: it is every 3 s, and that may take 2 s.
pub(super) const NOT_RENEWED_FOR: Duration = Duration::from_secs(5);
/// A peer that was not answered for this long has no stores. Shorter, by the pause between two probes, than the
/// patience of an instance with its own, so that those who are cut off together know it of each other.
const NO_STORES_FOR: Duration = Duration::from_secs(3);

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
fn is_nobody_better_informed(
    peers: &Peers,
    now: Instant,
    up_for: Option<Duration>,
    is_shut: bool,
) -> bool {
    peers.are_all(now, up_for, |word| {
        cannot_read_revocations(word) && (word.is_fresh() || !is_shut)
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
