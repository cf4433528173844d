//! When writes are due: at given times, whether or not earlier ones were answered (open loop). A thread of its own keeps
//! the times, so that the work of reading delays no write.

use crate::clock::{self, Micros};
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// All runs have the same times, whatever they are run against.
const SEED: u64 = 2026;
const DIGITS: u8 = 3;
/// In microseconds; later counts as this late.
const LATEST: u64 = 60_000_000;

/// How the times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// At equal distances: pointing devices, which applications throttle.
    Even,
    /// At random, as a Poisson process: people.
    Random,
}

/// A running series of writes.
pub struct Arrivals {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Histogram<u64>>,
}

impl Arrivals {
    /// Calls `act` at each time with its number, counted from 0, and with the time itself. `rate`: a second.
    pub fn start(
        rate: f64,
        pattern: Pattern,
        mut act: impl FnMut(u64, Micros) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut late = lateness();
            let mut times = Times::new(rate, pattern);
            for number in 0.. {
                let due = times.next();
                let wait = due.saturating_sub(clock::now());
                thread::sleep(Duration::from_micros(wait));
                if stopped.load(Relaxed) {
                    break;
                }
                late.saturating_record(clock::now().saturating_sub(due));
                act(number, due);
            }
            late
        });
        Self { stop, thread }
    }

    /// Ends the series; gives how late the generator itself was, in microseconds.
    pub fn stop(self) -> Histogram<u64> {
        self.stop.store(true, Relaxed);
        // A panic in `act` was printed, and leaves no lateness to tell.
        self.thread.join().unwrap_or_else(|_| lateness())
    }
}

pub fn lateness() -> Histogram<u64> {
    Histogram::new_with_max(LATEST, DIGITS).expect("the bounds are within the format's")
}

/// The times of a series, one after the other.
struct Times {
    gap: f64,
    pattern: Pattern,
    random: StdRng,
    next: f64,
}

impl Times {
    fn new(rate: f64, pattern: Pattern) -> Self {
        Self {
            gap: 1e6 / rate,
            pattern,
            random: StdRng::seed_from_u64(SEED),
            #[expect(clippy::cast_precision_loss, reason = "exact for 285 years")]
            next: clock::now() as f64,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time after the start, in whole microseconds"
    )]
    fn next(&mut self) -> Micros {
        self.next += match self.pattern {
            Pattern::Even => self.gap,
            // The distances of a Poisson process are exponentially distributed. The argument is never 0.
            Pattern::Random => -(1.0 - self.random.random::<f64>()).ln() * self.gap,
        };
        self.next as Micros
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[test]
    fn random_times_have_the_rate_and_are_the_same_each_time() {
        let distances = || {
            let mut times = Times::new(1_000.0, Pattern::Random);
            let begin = times.next;
            let last = (0..10_000).map(|_| times.next()).last().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let took = last as f64 - begin;
            took.round()
        };
        let took = distances();
        assert!((9.7e6..10.3e6).contains(&took), "{took}");
        assert!((distances() - took).abs() <= 1.0);
    }

    #[test]
    fn a_slow_act_does_not_shift_the_times() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let arrivals = Arrivals::start(100.0, Pattern::Even, move |number, due| {
            noted.lock().push(due);
            if number == 0 {
                thread::sleep(Duration::from_millis(100));
            }
        });
        while seen.lock().len() < 20 {
            thread::sleep(Duration::from_millis(5));
        }
        let late = arrivals.stop();
        let times = seen.lock().clone();
        let distances: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            distances.iter().all(|gap| (9_999..=10_001).contains(gap)),
            "{distances:?}"
        );
        assert!(
            late.max() >= 80_000,
            "that it was late is told: {}",
            late.max()
        );
    }
}
