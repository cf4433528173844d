//! How often a person or an address may do something, counted over all instances together.
//!
//! GCRA (the generic cell rate algorithm, ITU-T I.371) keeps one moment per key: the theoretical arrival time, when all
//! uses that were let through would have been due at a steady rate. Redis keeps the shared moment, by its own clock.
//! Each instance keeps a copy, which is never later than the shared one. So an instance refuses a key that is over the
//! limit by itself; it asks Redis when a key is near the limit; and it lets through at once a use that is far below,
//! and counts it in Redis in a batch soon after. Without Redis, or while Redis does not answer, the instance's copy is
//! the limit.

use super::cluster::{Charge, Redis, charge};
use metrics::Counter;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    fmt::Display,
    hash::Hash,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How soon uses that were let through without asking Redis are counted there.
const SETTLE_EVERY: Duration = Duration::from_millis(50);
/// Keys that one command settles.
const SETTLE_BATCH_KEYS: usize = 128;
/// This part of a burst is let through without asking, on each instance.
const UNASKED_SHARE: u32 = 10;

/// Redis counts in whole microseconds.
const GAP_MIN: Duration = Duration::from_micros(1);

/// A steady rate, and how much may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The time between two uses at the steady rate.
    pub gap: Duration,
    pub burst: u32,
    /// Whether Redis is asked before each use, because uses are rare and must not be counted late.
    pub is_strict: bool,
}

/// A limit of one kind, for each of its keys. Its memory is bounded by the keys that used it within
/// the time a burst takes.
pub struct Limiter<K> {
    name: &'static str,
    /// The time that one use costs.
    gap: Duration,
    /// How far ahead of the steady rate a key may be.
    reach: Duration,
    /// How far ahead a key may be without a question to Redis.
    unasked: Duration,
    redis: Option<Redis>,
    book: Mutex<Book<K>>,
    fallbacks: Counter,
}

struct Book<K> {
    known: HashMap<K, Known>,
    /// Keys with uses that are not counted in Redis yet.
    owing: Vec<K>,
}

struct Known {
    /// When all uses that were let through would have been due at the steady rate.
    due: Instant,
    /// How many uses were let through that are not counted in Redis yet.
    uncounted: u32,
}

/// What an instance decides by itself.
enum Judged {
    Allowed,
    /// Redis decides, and counts this many earlier uses, too.
    Ask {
        uncounted: u32,
    },
}

impl<K: Clone + Hash + Eq + Display> Limiter<K> {
    /// `name` distinguishes limits in Redis.
    pub fn new(name: &'static str, rate: Rate, redis: Option<&Redis>) -> Self {
        let gap = rate.gap.max(GAP_MIN);
        let reach = gap * rate.burst.max(1);
        Self {
            name,
            gap,
            reach,
            unasked: if rate.is_strict {
                Duration::ZERO
            } else {
                reach / UNASKED_SHARE
            },
            redis: redis.cloned(),
            book: Mutex::new(Book {
                known: HashMap::new(),
                owing: Vec::new(),
            }),
            fallbacks: metrics::counter!("roost_redis_fallbacks_total", "use" => "limits"),
        }
    }

    /// Counts one use. An error: it is refused, for so long.
    pub async fn check(&self, key: &K) -> Result<(), Duration> {
        let Some(redis) = &self.redis else {
            return self.take(key);
        };
        if !redis.is_prompt() {
            self.fallbacks.increment(1);
            return self.take(key);
        }
        match self.judge(key)? {
            Judged::Allowed => Ok(()),
            // Boxed: most requests do not ask Redis, and their futures need not be that large.
            Judged::Ask { uncounted } => Box::pin(self.ask(redis, key, uncounted)).await,
        }
    }

    /// Counts in Redis what was let through, and forgets keys that may begin anew, until cancelled.
    pub async fn keep(&self, cancel: &CancellationToken) {
        const FORGET_EVERY_TICKS: u32 = 20;
        let mut ticks = interval(SETTLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut passed = 0;
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            self.settle().await;
            passed = (passed + 1) % FORGET_EVERY_TICKS;
            if passed == 0 {
                let now = Instant::now();
                let mut book = self.book();
                book.known
                    .retain(|_, known| known.due > now || known.uncounted > 0);
            }
        }
    }

    /// Counts one use without Redis.
    fn take(&self, key: &K) -> Result<(), Duration> {
        let now = Instant::now();
        let mut book = self.book();
        let known = book.known(key, now);
        known.due = self.next(known, now)?;
        Ok(())
    }

    fn judge(&self, key: &K) -> Result<Judged, Duration> {
        let now = Instant::now();
        let mut book = self.book();
        let known = book.known(key, now);
        // Checked here also when Redis is asked: Redis may have been away, and know of fewer uses.
        known.due = self.next(known, now)?;
        if known.due - now > self.unasked {
            let uncounted = std::mem::take(&mut known.uncounted);
            return Ok(Judged::Ask { uncounted });
        }
        known.uncounted += 1;
        if known.uncounted == 1 {
            book.owing.push(key.clone());
        }
        Ok(Judged::Allowed)
    }

    /// When all uses would be due with one more; an error if that is too far ahead.
    fn next(&self, known: &Known, now: Instant) -> Result<Instant, Duration> {
        let next = known.due.max(now) + self.gap;
        let wait = next.saturating_duration_since(now + self.reach);
        if wait.is_zero() { Ok(next) } else { Err(wait) }
    }

    async fn ask(&self, redis: &Redis, key: &K, uncounted: u32) -> Result<(), Duration> {
        let asked = Instant::now();
        let charges = [self.charge(redis, key, uncounted, 1)];
        let verdicts = redis.ask(charge(redis, &charges)).await;
        let Ok([verdict]) = verdicts.as_deref() else {
            // Redis does not answer: what this instance decided stands.
            self.fallbacks.increment(1);
            return Ok(());
        };
        if verdict.is_allowed {
            self.apply_verdict(key, asked + verdict.ahead, Duration::ZERO);
            return Ok(());
        }
        self.apply_verdict(key, asked + verdict.ahead, self.gap);
        Err((verdict.ahead + self.gap).saturating_sub(self.reach))
    }

    /// Counts in Redis the uses that were let through without asking, and applies its answers.
    pub async fn settle(&self) {
        let Some(redis) = &self.redis else { return };
        let owing = {
            let mut book = self.book();
            let keys = std::mem::take(&mut book.owing);
            let uncounted = |key: K| {
                let uncounted = std::mem::take(&mut book.known.get_mut(&key)?.uncounted);
                (uncounted > 0).then_some((key, uncounted))
            };
            keys.into_iter().filter_map(uncounted).collect::<Vec<_>>()
        };
        for batch in owing.chunks(SETTLE_BATCH_KEYS) {
            let asked = Instant::now();
            let charges: Vec<_> = batch
                .iter()
                .map(|(key, uncounted)| self.charge(redis, key, *uncounted, 0))
                .collect();
            match charge(redis, &charges).await {
                Ok(verdicts) => {
                    for ((key, _), verdict) in batch.iter().zip(verdicts) {
                        self.apply_verdict(key, asked + verdict.ahead, Duration::ZERO);
                    }
                }
                // This instance has counted these uses. The others, which do not know of them, let a little more
                // through.
                Err(error) => tracing::debug!(%error, limit = self.name, "limits not shared"),
            }
        }
    }

    fn charge(&self, redis: &Redis, key: &K, forced: u32, wanted: u32) -> Charge {
        Charge {
            name: redis.name(&format!("limit:{}:{key}", self.name)),
            gap: self.gap,
            reach: self.reach,
            forced,
            wanted,
        }
    }

    /// Applies an answer of Redis: gives back the time of a use that was refused, and takes the later of both moments.
    /// Redis's is counted from before the question, so it is never too late.
    fn apply_verdict(&self, key: &K, due: Instant, back: Duration) {
        let mut book = self.book();
        let known = book.known(key, due);
        known.due = known
            .due
            .checked_sub(back)
            .map_or(due, |kept| kept.max(due));
    }

    fn book(&self) -> MutexGuard<'_, Book<K>> {
        self.book.lock()
    }
}

impl<K: Clone + Hash + Eq> Book<K> {
    fn known(&mut self, key: &K, due: Instant) -> &mut Known {
        let known = self.known.entry(key.clone());
        known.or_insert(Known { due, uncounted: 0 })
    }
}
