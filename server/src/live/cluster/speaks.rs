//! What instances of different releases understand of each other.
//!
//! Each release has a number, which an instance writes in its row of the registry and in its beacon. What the release
//! before would refuse or misread comes with a higher number, and is used only while every instance has at least that
//! number. What stays in stores is no part of this: it is written only in a form that the release before can read.
//!
//! | number | what came with it |
//! |---|---|
//! | 0 | Everything before instances said a number. |
//! | 1 | The number itself: an instance waits at its start until those that speak more know of it. |
//! | 2 | Refresh tokens of one line. They are used at once; the number tells how long branches of the release before count, see `docs/decisions/0027-refresh-tokens-have-one-line.md`. |

use super::{Fence, Peers};
use roost_schema::InstanceId;
use std::time::Duration;

/// What this release speaks.
pub const SPEAKS: u32 = 2;
/// How long what was read of the registry with the renewal of the lease counts. Longer than from one renewal to the
/// next, and no longer than a new instance of an older release waits before it serves.
pub const REGISTRY_KNOWN_FOR: Duration = Duration::from_secs(4);

/// The number that instances use between them now, and those that speak less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// What this instance speaks.
    pub own: u32,
    /// Features that came with higher numbers are not used.
    pub used: u32,
    pub peers: Vec<PeerSpeaks>,
}

/// What another instance speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerSpeaks {
    pub instance: InstanceId,
    pub speaks: u32,
}

impl Spoken {
    pub(in crate::live) fn of(peers: &Peers, fence: &Fence) -> Self {
        let used = (0..=SPEAKS)
            .rev()
            .find(|number| may_use(*number, peers, fence));
        Self {
            own: SPEAKS,
            used: used.unwrap_or(0),
            peers: peers.speaks(),
        }
    }
}

/// Whether features that came with `number` may be used: every instance that is registered, or has sent a beacon
/// lately, says at least that number, and this one has read so with the last renewal of its lease.
pub(in crate::live) fn may_use(number: u32, peers: &Peers, fence: &Fence) -> bool {
    let least = || peers.speaks().into_iter().map(|peer| peer.speaks).min();
    number <= SPEAKS
        && (number == 0 || is_registry_known(fence))
        && least().is_none_or(|least| number <= least)
}

fn is_registry_known(fence: &Fence) -> bool {
    let age = fence.lease_age();
    age.is_some_and(|age| age < REGISTRY_KNOWN_FOR)
}
