//! When a replica reads the journal again after a failed read. No signal, request or write brings that forward.

use super::Damage;
use crate::store::journal::JournalError;
use std::{ops::RangeInclusive, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// The first pause after a failed read; it doubles up to 64 times this, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// How long a room with a damaged journal is left alone: an operator has to mend it first.
const DAMAGE_PAUSE_MS: RangeInclusive<u64> = 5_000..=7_000;

/// The failures in a row, and when the next try is due.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    /// When the first of them was noted.
    failing_since: Option<Instant>,
    not_before: Option<Instant>,
    damage: Option<Damage>,
}

impl Retry {
    /// Notes that a read failed; answers whether it is the first in a row.
    pub(super) fn fail(&mut self, error: &JournalError) -> bool {
        self.damage = Damage::of(error);
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert_with(Instant::now);
        let pause = match self.damage {
            Some(_) => Duration::from_millis(rand::random_range(DAMAGE_PAUSE_MS)),
            None => length(self.failures),
        };
        self.not_before = Some(Instant::now() + pause);
        self.failures == 1
    }

    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// How long reads have failed; zero if the last one succeeded.
    pub(super) fn failing_for(&self) -> Duration {
        self.failing_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// The damage that the last read found, until the pause after it is over.
    pub(super) fn damage(&self) -> Option<Damage> {
        self.damage.filter(|_| !self.is_due())
    }

    /// Resolves when the next try is due; never if nothing failed.
    pub(super) async fn due(&self) {
        match self.not_before {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Pauses before another try: not at all without a failure, and longer with each failure in a row.
pub(super) async fn pause(failures: u32) {
    if failures > 0 {
        sleep(length(failures)).await;
    }
}

/// A random length, from nothing to a bound that doubles with each failure.
fn length(failures: u32) -> Duration {
    let longest = PAUSE_MIN * 2_u32.pow(failures.min(6));
    longest.mul_f64(rand::random::<f64>())
}
