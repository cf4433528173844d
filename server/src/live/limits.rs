//! How often a person or an address may do something, counted over all instances together.
//!
//! GCRA (the generic cell rate algorithm, ITU-T I.371) keeps one moment per key: when everything that
//! was let through would have been due at a steady rate. Redis keeps the shared one, by its own clock;
//! beside it each instance keeps what it knows of it, which is never later. So it refuses by
//! itself a key that is over the limit already, asks Redis when the limit is near, and lets through what
//! is far below it at once, to be counted in a batch soon after. Without Redis, or while it does not
//! answer, what the instance knows is the limit.

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
    /// The time between two.
    pub gap: Duration,
    pub burst: u32,
    /// Redis is asked before anything is let through: for what is rare and must not be guessed at.
    pub is_strict: bool,
}

/// A limit of one kind, for each of its keys. Its memory is bounded by the keys that used it within
/// the time a burst takes.
pub struct Limiter<K> {
    name: &'static str,
    /// What one costs.
    gap: Duration,
    /// How far ahead of the steady rate a key may be.
    reach: Duration,
    /// How far ahead Redis need not be asked.
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
    /// When all that was let through would have been due.
    due: Instant,
    /// How many were let through that are not counted in Redis yet.
    untold: u32,
}

/// What an instance can say by itself.
enum Judged {
    Allowed,
    /// Redis decides, and counts this many earlier ones too.
    Ask {
        untold: u32,
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

    /// Counts one; refused, it answers how long to wait.
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
            // Boxed: most requests do not come here, and need not be that large.
            Judged::Ask { untold } => Box::pin(self.ask(redis, key, untold)).await,
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
                    .retain(|_, known| known.due > now || known.untold > 0);
            }
        }
    }

    /// Counts one by what this instance knows.
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
        // Also while Redis is asked: it may have been away and know of less.
        known.due = self.next(known, now)?;
        if known.due - now > self.unasked {
            let untold = std::mem::take(&mut known.untold);
            return Ok(Judged::Ask { untold });
        }
        known.untold += 1;
        if known.untold == 1 {
            book.owing.push(key.clone());
        }
        Ok(Judged::Allowed)
    }

    /// When all would be due with one more, if that is not too far ahead.
    fn next(&self, known: &Known, now: Instant) -> Result<Instant, Duration> {
        let next = known.due.max(now) + self.gap;
        let wait = next.saturating_duration_since(now + self.reach);
        if wait.is_zero() { Ok(next) } else { Err(wait) }
    }

    async fn ask(&self, redis: &Redis, key: &K, untold: u32) -> Result<(), Duration> {
        let asked = Instant::now();
        let charges = [self.charge(redis, key, untold, 1)];
        let verdicts = redis.ask(charge(redis, &charges)).await;
        let Ok([verdict]) = verdicts.as_deref() else {
            // As it was judged here.
            self.fallbacks.increment(1);
            return Ok(());
        };
        if verdict.is_allowed {
            self.learn(key, asked + verdict.ahead, Duration::ZERO);
            return Ok(());
        }
        self.learn(key, asked + verdict.ahead, self.gap);
        Err((verdict.ahead + self.gap).saturating_sub(self.reach))
    }

    /// Counts in Redis what was let through unasked, and reads how the keys stand.
    pub async fn settle(&self) {
        let Some(redis) = &self.redis else { return };
        let owing = {
            let mut book = self.book();
            let keys = std::mem::take(&mut book.owing);
            let told = |key: K| {
                let untold = std::mem::take(&mut book.known.get_mut(&key)?.untold);
                (untold > 0).then_some((key, untold))
            };
            keys.into_iter().filter_map(told).collect::<Vec<_>>()
        };
        for batch in owing.chunks(SETTLE_BATCH_KEYS) {
            let asked = Instant::now();
            let charges: Vec<_> = batch
                .iter()
                .map(|(key, untold)| self.charge(redis, key, *untold, 0))
                .collect();
            match charge(redis, &charges).await {
                Ok(verdicts) => {
                    for ((key, _), verdict) in batch.iter().zip(verdicts) {
                        self.learn(key, asked + verdict.ahead, Duration::ZERO);
                    }
                }
                // This instance has counted them; the others let a little more through.
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

    /// Gives back what was counted and not let through, and takes over what Redis knows: the moment
    /// is counted from before the question, so never later.
    fn learn(&self, key: &K, due: Instant, back: Duration) {
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
        known.or_insert(Known { due, untold: 0 })
    }
}
