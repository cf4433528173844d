//! The waits between tries to connect.

use rand::Rng;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Full jitter: each wait is random, between nothing and a bound that doubles, so that the clients of a dead server do not
/// come back together
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Debug)]
pub struct Backoff {
    bound: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { bound: FIRST }
    }
}

impl Backoff {
    /// The next wait; never shorter than the server asks for.
    pub fn next_wait(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.bound.mul_f64(rand::rng().random());
        self.bound = (self.bound * 2).min(LONGEST);
        asked.unwrap_or_default() + wait
    }

    /// Starts again with short waits, after a success.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_honour_the_server() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_wait(None) <= FIRST);
        for _ in 0..20 {
            assert!(backoff.next_wait(None) <= LONGEST);
        }
        assert_eq!(backoff.bound, LONGEST);
        let asked = Duration::from_secs(30);
        assert!(backoff.next_wait(Some(asked)) >= asked);
        backoff.reset();
        assert!(backoff.next_wait(None) <= FIRST);
    }
}
