//! When writes are due: at given times, whether or not earlier ones were answered (open loop). A thread of its own keeps
//! the times, so that the work of reading delays no write.

use crate::clock::{self, Micros};
use anyhow::{Result, anyhow};
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
    thread: JoinHandle<()>,
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
            let mut times = Times::new(rate, pattern);
            for number in 0.. {
                let due = times.next();
                let wait = due.saturating_sub(clock::now());
                thread::sleep(Duration::from_micros(wait));
                if stopped.load(Relaxed) {
                    break;
                }
                act(number, due);
            }
        });
        Self { stop, thread }
    }

    /// Ends the series. An error: it ended by itself, by a panic that was printed.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the writes ended by themselves"))
    }
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
        arrivals.stop().unwrap();
        let times = seen.lock().clone();
        let distances: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            distances.iter().all(|gap| (9_999..=10_001).contains(gap)),
            "{distances:?}"
        );
    }

    #[test]
    fn a_series_that_ends_by_itself_is_an_error() {
        let arrivals = Arrivals::start(100.0, Pattern::Even, |_, _| panic!("on purpose"));
        while !arrivals.thread.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(arrivals.stop().is_err());
    }
}
