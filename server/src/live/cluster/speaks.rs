//! What instances of different releases understand of each other.
//!
//! Each says a number, in its row of the registry and in its beacon. What the release before would refuse or
//! misread comes with a higher number, and is used only while every instance says at least that. What stays in
//! stores is no part of this: it is written only in a form that the release before can read.
//!
//! | number | what came with it |
//! |---|---|
//! | 0 | Everything before instances said a number. |
//! | 1 | The number itself: an instance waits at its start until those that speak more know of it. |

use super::Live;
use roost_schema::InstanceId;
use std::time::Duration;

/// What this release speaks.
pub const SPEAKS: u32 = 1;
/// What was read of the registry with the renewal of one's own lease counts for so long. Longer than from one renewal to
/// the next, and no longer than a new instance of an older release waits before it serves.
pub const REGISTRY_KNOWN_FOR: Duration = Duration::from_secs(4);

/// What may be used between instances now, and who holds the rest back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// What this instance speaks.
    pub own: u32,
    /// What came with higher numbers is not used.
    pub used: u32,
    pub peers: Vec<PeerSpeaks>,
}

/// What another instance speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerSpeaks {
    pub instance: InstanceId,
    pub speaks: u32,
}

impl Live {
    /// Whether what came with `number` may be used: every instance that is registered, or was heard lately, says
    /// at least that, and this one has read so with the renewal of its lease just now.
    pub fn speaks(&self, number: u32) -> bool {
        let least = || {
            self.peers
                .speaks()
                .into_iter()
                .map(|peer| peer.speaks)
                .min()
        };
        number <= SPEAKS
            && (number == 0 || self.is_registry_known())
            && least().is_none_or(|least| number <= least)
    }

    pub fn spoken(&self) -> Spoken {
        let used = (0..=SPEAKS).rev().find(|number| self.speaks(*number));
        Spoken {
            own: SPEAKS,
            used: used.unwrap_or(0),
            peers: self.peers.speaks(),
        }
    }

    fn is_registry_known(&self) -> bool {
        let age = self.fence().lease_age();
        age.is_some_and(|age| age < REGISTRY_KNOWN_FOR)
    }
}
