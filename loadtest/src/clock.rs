//! The clock of all measured times: microseconds since this process first asked.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment, in microseconds since the start. A payload carries it as a number.
pub type Micros = u64;

pub fn now() -> Micros {
    micros(START.elapsed())
}

pub fn micros(duration: Duration) -> Micros {
    duration.as_micros().try_into().unwrap_or(Micros::MAX)
}
