//! How changes reached this instance's readers, counted. For operators, and for the proof that the
//! backplane works: what it does not bring, the sweep brings later, which no test of delivery would notice.

use crate::store::journal::Entry;
use chrono::Utc;
use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use roost_schema::RoomId;
use std::time::{Duration, Instant};

/// A lag that was measured longer ago is not shown.
const LAG_RECENT: Duration = Duration::from_secs(10);

/// The way an entry came to this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliverySource {
    /// Committed here.
    Local,
    /// Another instance announced it.
    Backplane,
    /// Read after a race for a slot was lost.
    Race,
    /// Read because a gap was not filled in time.
    Repair,
    /// Read because the sweep, or a new subscription, found the head further on.
    Sweep,
    /// Read for one reader who is further behind than memory goes.
    Feed,
}

impl DeliverySource {
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

pub(in crate::live) struct Deliveries {
    counters: [Counter; DeliverySource::ALL.len()],
    lags: Histogram,
    /// The last one, and when it was measured.
    last_lag: Mutex<Option<(Duration, Instant)>>,
}

impl Default for Deliveries {
    fn default() -> Self {
        let counter = |source: DeliverySource| metrics::counter!("roost_deliveries_total", "path" => source.name());
        Self {
            counters: DeliverySource::ALL.map(counter),
            lags: metrics::histogram!("roost_delivery_lag_duration_seconds"),
            last_lag: Mutex::default(),
        }
    }
}

impl Deliveries {
    /// Counts the entries, and logs a line for each at level `trace` of the target `roost::deliveries`: a label by room
    /// would be too many series.
    pub(super) fn count(&self, source: DeliverySource, room: RoomId, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        if let Some(counter) = self.counters.get(source as usize) {
            counter.increment(entries.len() as u64);
        }
        if !matches!(source, DeliverySource::Local | DeliverySource::Feed) {
            self.note_lag(last);
        }
        tracing::trace!(target: "roost::deliveries", path = source.name(), room.id = %room,
            first = first.seq.0, last = last.seq.0, count = entries.len());
    }

    /// The age of the newest change of another instance when it was delivered, if that was lately.
    pub(in crate::live) fn recent_lag(&self) -> Option<Duration> {
        let last = *self.last_lag.lock();
        last.filter(|(_, at)| at.elapsed() < LAG_RECENT)
            .map(|(lag, _)| lag)
    }

    /// Computed from the clocks of both hosts, so it includes their difference.
    fn note_lag(&self, newest: &Entry) {
        let lag = (Utc::now() - newest.at).to_std().unwrap_or_default();
        self.lags.record(lag.as_secs_f64());
        let mut last = self.last_lag.lock();
        *last = Some((lag, Instant::now()));
    }
}
