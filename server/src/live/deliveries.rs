//! How changes reached this instance's readers, counted. For operators, and for the proof that the
//! backplane works: what it does not bring, the sweep brings later, and nobody would notice.

use crate::store::journal::Entry;
use metrics::Counter;
use roost_schema::RoomId;

/// The way an entry came to this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Committed here.
    Local,
    /// Another instance told of it.
    Backplane,
    /// Read after a race for a slot was lost.
    Race,
    /// Read because a hole was not filled in time.
    Repair,
    /// Read because the sweep, or a new subscription, found the head further on.
    Sweep,
    /// Read for one reader who is further behind than memory goes.
    Feed,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Local,
        Self::Backplane,
        Self::Race,
        Self::Repair,
        Self::Sweep,
        Self::Feed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Backplane => "backplane",
            Self::Race => "race",
            Self::Repair => "repair",
            Self::Sweep => "sweep",
            Self::Feed => "feed",
        }
    }
}

pub(super) struct Deliveries([Counter; Way::ALL.len()]);

impl Default for Deliveries {
    fn default() -> Self {
        Self(Way::ALL.map(|way| metrics::counter!("roost_deliveries_total", "path" => way.name())))
    }
}

impl Deliveries {
    /// Also a line for each, at level `trace` of the target `roost::deliveries`: a label by room would be
    /// too many.
    pub(super) fn count(&self, way: Way, room: RoomId, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        if let Some(counter) = self.0.get(way as usize) {
            counter.increment(entries.len() as u64);
        }
        tracing::trace!(target: "roost::deliveries", path = way.name(), room.id = %room,
            first = first.seq.0, last = last.seq.0, count = entries.len());
    }
}
