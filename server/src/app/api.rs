//! The transport a request came by, and the metric of writes by transport, which count when they are acknowledged.

use metrics::Counter;
use std::sync::LazyLock;

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Rest,
    Graphql,
    SocketIo,
}

/// The counters are kept, because looking one up for each write would cost more than the increment.
static WRITES: LazyLock<[Counter; Api::ALL.len()]> = LazyLock::new(|| {
    Api::ALL.map(|api| metrics::counter!("roost_writes_total", "api" => api.name()))
});

impl Api {
    const ALL: [Self; 3] = [Self::Rest, Self::Graphql, Self::SocketIo];

    /// The label of the metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Graphql => "graphql",
            Self::SocketIo => "socketio",
        }
    }

    /// Registers the counters, so that they are exported before the first write.
    pub fn register_counters() {
        LazyLock::force(&WRITES);
    }

    pub(super) fn count_write(self) {
        if let Some(counter) = WRITES.get(self as usize) {
            counter.increment(1);
        }
    }
}
