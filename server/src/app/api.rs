//! Writes are counted where they are acknowledged, by the way in that they came by.

use metrics::Counter;
use std::sync::LazyLock;

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Rest,
    Graphql,
    SocketIo,
}

/// Kept, because each write counts.
static WRITES: LazyLock<[Counter; Api::ALL.len()]> = LazyLock::new(|| {
    Api::ALL.map(|api| metrics::counter!("roost_writes_total", "api" => api.name()))
});

impl Api {
    const ALL: [Self; 3] = [Self::Rest, Self::Graphql, Self::SocketIo];

    /// As a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Graphql => "graphql",
            Self::SocketIo => "socketio",
        }
    }

    /// Shows the counters before the first write.
    pub fn show_counts() {
        LazyLock::force(&WRITES);
    }

    pub(super) fn count_write(self) {
        if let Some(counter) = WRITES.get(self as usize) {
            counter.increment(1);
        }
    }
}
