//! Times and counts of a run, over all sockets.
//!
//! A time counts from the moment at which the write was due, not from when it was sent: a server that holds up the
//! sender cannot hide how long others waited (coordinated omission).

use crate::clock::{self, Micros};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    mem,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Longer times count as this long.
const LONGEST: Duration = Duration::from_mins(2);
/// Of the histograms of the whole run, and of those of one second.
const DIGITS: u8 = 3;
const DIGITS_OF_A_SECOND: u8 = 2;

/// What a time is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timing {
    /// From when a write was due until a reader has it.
    Delivery,
    /// From when a write was due until its acknowledgement.
    Acknowledgement,
    /// From when a request was due until its answer was read, of each sort.
    SignIn,
    Read,
    Page,
    Write,
    /// From when a socket was to be opened until it is in its rooms.
    Connect,
}

impl Timing {
    pub const ALL: [Self; 7] = [
        Self::Delivery,
        Self::Acknowledgement,
        Self::SignIn,
        Self::Read,
        Self::Page,
        Self::Write,
        Self::Connect,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Acknowledgement => "acknowledgement",
            Self::SignIn => "sign-in",
            Self::Read => "read",
            Self::Page => "page",
            Self::Write => "write",
            Self::Connect => "connect",
        }
    }
}

/// Shared by all sockets of a run.
#[derive(Debug)]
pub struct Recorder {
    /// Where seconds are counted from: the begin of the first window.
    origin: AtomicU64,
    /// The window that is measured. Until it begins, nothing is.
    from: AtomicU64,
    until: AtomicU64,
    bytes: AtomicU64,
    /// Acknowledged or refused, measured or not.
    answered: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// From when a write was due until the generator came to send it.
    starts: Histogram<u64>,
    /// How much later than it was to the generator did something else that was due.
    pulses: Histogram<u64>,
    timings: BTreeMap<Timing, Histogram<u64>>,
    /// Of seconds whose times may still come, by the number of the second.
    open: BTreeMap<(u64, Timing), Histogram<u64>>,
    /// Of all others only the summaries: a histogram for each second of an hour would be most of the generator's memory.
    seconds: BTreeMap<u64, Second>,
    errors: BTreeMap<String, u64>,
}

/// One second of the run.
#[derive(Clone, Debug, Default)]
pub struct Second {
    pub times: BTreeMap<Timing, Summary>,
    pub errors: u64,
}

/// The times of one second, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub count: u64,
    pub p50: Micros,
    pub p99: Micros,
    pub greatest: Micros,
}

impl Summary {
    fn of(times: &Histogram<u64>) -> Self {
        Self {
            count: times.len(),
            p50: times.value_at_quantile(0.5),
            p99: times.value_at_quantile(0.99),
            greatest: times.value_at_quantile(1.0),
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            origin: AtomicU64::new(Micros::MAX),
            from: AtomicU64::new(Micros::MAX),
            until: AtomicU64::new(Micros::MAX),
            bytes: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                starts: histogram(DIGITS),
                pulses: histogram(DIGITS),
                timings: BTreeMap::new(),
                open: BTreeMap::new(),
                seconds: BTreeMap::new(),
                errors: BTreeMap::new(),
            }),
        }
    }
}

impl Recorder {
    /// What is due from now on is measured, until the end. There may be several windows, one after the other.
    pub fn begin(&self) {
        let now = clock::now();
        self.origin.fetch_min(now, Relaxed);
        self.until.store(Micros::MAX, Relaxed);
        self.from.store(now, Relaxed);
    }

    pub fn end(&self) {
        self.until.store(clock::now(), Relaxed);
    }

    fn measures(&self, due: Micros) -> bool {
        (self.from.load(Relaxed)..self.until.load(Relaxed)).contains(&due)
    }

    /// The second of the run in which a moment lies.
    pub fn second(&self, moment: Micros) -> u64 {
        moment.saturating_sub(self.origin.load(Relaxed)) / 1_000_000
    }

    /// Something that was due at a moment is done now.
    pub fn record(&self, timing: Timing, due: Micros) {
        if !self.measures(due) {
            return;
        }
        let took = clock::now().saturating_sub(due);
        let second = self.second(due);
        let mut inner = self.inner.lock();
        let all = inner.timings.entry(timing);
        all.or_insert_with(|| histogram(DIGITS))
            .saturating_record(took);
        inner.record_in_second(second, timing, took);
    }

    /// The generator begins now what was due at a moment: what is later is its own fault.
    pub fn note_start(&self, due: Micros) {
        if self.measures(due) {
            let late = clock::now().saturating_sub(due);
            self.inner.lock().starts.saturating_record(late);
        }
    }

    /// The generator's runtime came so much later than at the moment that it was to.
    pub fn note_pulse(&self, due: Micros) {
        if self.measures(due) {
            let late = clock::now().saturating_sub(due);
            self.inner.lock().pulses.saturating_record(late);
        }
    }

    /// How late the generator was with one thing of a hundred, in microseconds: with writes, or with its other work.
    pub fn lateness(&self) -> Micros {
        let inner = self.inner.lock();
        let late = |of: &Histogram<u64>| of.value_at_quantile(0.99);
        late(&inner.starts).max(late(&inner.pulses))
    }

    /// Of what was due in a second of the run, in microseconds.
    pub fn p99_of(&self, second: u64, timing: Timing) -> Option<Micros> {
        let inner = self.inner.lock();
        let times = inner.open.get(&(second, timing))?;
        Some(times.value_at_quantile(0.99))
    }

    /// Something that was due at a moment went wrong.
    pub fn fail(&self, due: Micros, why: &str) {
        if !self.measures(due) {
            return;
        }
        let second = self.second(due);
        let mut inner = self.inner.lock();
        *inner.errors.entry(why.to_owned()).or_default() += 1;
        inner.seconds.entry(second).or_default().errors += 1;
    }

    /// Bytes of a frame that came, its head included (RFC 6455, 5.2).
    pub fn count_frame(&self, payload: usize) {
        let head = match payload {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        };
        self.count_bytes(payload + head);
    }

    pub fn count_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// All that came, since the start.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn count_answer(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    /// Writes that were acknowledged or refused, since the start.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Done since the window began.
    pub fn count(&self, timing: Timing) -> u64 {
        let inner = self.inner.lock();
        inner.timings.get(&timing).map_or(0, Histogram::len)
    }

    pub fn times(&self, timing: Timing) -> Option<Histogram<u64>> {
        self.inner.lock().timings.get(&timing).cloned()
    }

    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.inner.lock().errors.clone()
    }

    /// By their number in the run.
    pub fn seconds(&self) -> BTreeMap<u64, Second> {
        let inner = self.inner.lock();
        let mut seconds = inner.seconds.clone();
        for ((second, timing), times) in &inner.open {
            let second = seconds.entry(*second).or_default();
            second.times.insert(*timing, Summary::of(times));
        }
        seconds
    }
}

impl Inner {
    fn record_in_second(&mut self, second: u64, timing: Timing, took: Micros) {
        if let Some(times) = self.open.get_mut(&(second, timing)) {
            return times.saturating_record(took);
        }
        self.close_before(second.saturating_sub(LONGEST.as_secs()));
        let is_closed = self.seconds.get(&second);
        if is_closed.is_some_and(|second| second.times.contains_key(&timing)) {
            // Later than the longest time: the whole run counts it, the second no longer.
            return;
        }
        let mut times = histogram(DIGITS_OF_A_SECOND);
        times.saturating_record(took);
        self.open.insert((second, timing), times);
    }

    /// Keeps only the summaries of seconds before this one.
    fn close_before(&mut self, second: u64) {
        let still_open = self.open.split_off(&(second, Timing::ALL[0]));
        for ((second, timing), times) in mem::replace(&mut self.open, still_open) {
            let second = self.seconds.entry(second).or_default();
            second.times.insert(timing, Summary::of(&times));
        }
    }
}

fn histogram(digits: u8) -> Histogram<u64> {
    let longest = clock::micros(LONGEST);
    Histogram::new_with_max(longest, digits).expect("the bounds are constants within the format's")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    #[test]
    fn a_time_counts_from_when_it_was_due() {
        let recorder = Recorder::default();
        recorder.record(Timing::Delivery, clock::now());
        recorder.begin();
        let due = clock::now();
        sleep(Duration::from_millis(30));
        recorder.record(Timing::Delivery, due);
        recorder.fail(due, "overloaded");
        recorder.end();
        sleep(Duration::from_millis(1));
        recorder.record(Timing::Delivery, clock::now());

        let times = recorder.times(Timing::Delivery).unwrap();
        assert_eq!(times.len(), 1, "only what was due in the window");
        assert!(times.max() >= 29_900, "{}", times.max());
        assert_eq!(recorder.errors()["overloaded"], 1);
        assert_eq!(recorder.seconds()[&0].errors, 1);
    }

    #[test]
    fn long_past_seconds_are_kept_as_summaries() {
        const HOUR: u64 = 3_600;
        let recorder = Recorder::default();
        let mut inner = recorder.inner.lock();
        for second in 0..HOUR {
            inner.record_in_second(second, Timing::Delivery, 100 + second);
            inner.record_in_second(second, Timing::Connect, 7);
        }
        // It came after its second was closed.
        inner.record_in_second(3, Timing::Delivery, 1);
        let open = inner.open.len();
        drop(inner);

        assert!(open <= 2 * 122, "{open} histograms");
        let seconds = recorder.seconds();
        assert_eq!(seconds.len() as u64, HOUR);
        for (number, second) in seconds {
            let times = second.times[&Timing::Delivery];
            assert_eq!(times.count, 1);
            assert!(times.greatest >= 100 + number, "{number}: {times:?}");
            assert_eq!(second.times[&Timing::Connect].p50, 7);
        }
    }

    #[test]
    fn frames_are_counted_with_their_heads() {
        let recorder = Recorder::default();
        for payload in [0, 125, 126, 65_535, 65_536] {
            recorder.count_frame(payload);
        }
        assert_eq!(recorder.bytes(), (2 + 127 + 130 + 65_539 + 65_546));
    }
}
