//! Faults made on purpose, and how many were made.

use serde::{Deserialize, Serialize};
use std::{
    num::NonZeroU64,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio_tungstenite::tungstenite::Message as Frame;

/// What is done to the deliveries of each socket. A delivery is one event for one socket; answers to commands are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Every so many deliveries, one is lost.
    pub lose: Option<NonZeroU64>,
    /// Every so many deliveries, one is sent twice.
    pub double: Option<NonZeroU64>,
    /// Every so many deliveries, one is sent after the next.
    pub reorder: Option<NonZeroU64>,
    /// Every delivery is sent so much later.
    pub delay: Option<Duration>,
}

/// The text is not a fault.
#[derive(Debug, thiserror::Error)]
#[error("a fault is lose=N, double=N, reorder=N or delay=MILLISECONDS, each 1 or more")]
pub struct InvalidFault;

impl FromStr for Faults {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (sort, number) = text.split_once('=').ok_or(InvalidFault)?;
        let number: NonZeroU64 = number.parse().map_err(|_| InvalidFault)?;
        let none = Self::default();
        Ok(match sort {
            "lose" => Self {
                lose: Some(number),
                ..none
            },
            "double" => Self {
                double: Some(number),
                ..none
            },
            "reorder" => Self {
                reorder: Some(number),
                ..none
            },
            "delay" => Self {
                delay: Some(Duration::from_millis(number.get())),
                ..none
            },
            _ => return Err(InvalidFault),
        })
    }
}

impl Faults {
    /// The faults of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lose: other.lose.or(self.lose),
            double: other.double.or(self.double),
            reorder: other.reorder.or(self.reorder),
            delay: other.delay.or(self.delay),
        }
    }
}

/// How often each thing happened. A client receives `deliveries`, less the lost and more the doubled; the last one to be
/// reordered waits for its next, so that a socket may still miss one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub deliveries: u64,
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub delayed: u64,
    /// Sockets that did not read, and were closed. No fault of ours.
    pub overrun: u64,
}

/// The counts while they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) deliveries: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    reordered: AtomicU64,
    delayed: AtomicU64,
    pub(super) overrun: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            deliveries: read(&self.deliveries),
            lost: read(&self.lost),
            doubled: read(&self.doubled),
            reordered: read(&self.reordered),
            delayed: read(&self.delayed),
            overrun: read(&self.overrun),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

/// Makes the faults of one socket.
#[derive(Debug, Default)]
pub(super) struct FaultMaker {
    deliveries: u64,
    held: Option<Frame>,
}

impl FaultMaker {
    /// Puts into `out` what is sent for these deliveries.
    pub(super) fn pass(
        &mut self,
        deliveries: &mut Vec<Frame>,
        faults: &Faults,
        counters: &Counters,
        out: &mut Vec<Frame>,
    ) {
        add(&counters.deliveries, deliveries.len());
        for frame in deliveries.drain(..) {
            self.pass_one(frame, faults, counters, out);
        }
        if faults.delay.is_some() {
            add(&counters.delayed, out.len());
        }
    }

    fn pass_one(
        &mut self,
        frame: Frame,
        faults: &Faults,
        counters: &Counters,
        out: &mut Vec<Frame>,
    ) {
        self.deliveries += 1;
        let is_due = |every: Option<NonZeroU64>| {
            every.is_some_and(|every| self.deliveries.is_multiple_of(every.get()))
        };
        if is_due(faults.lose) {
            add(&counters.lost, 1);
        } else if let Some(held) = self.held.take() {
            add(&counters.reordered, 1);
            out.extend([frame, held]);
        } else if is_due(faults.reorder) {
            self.held = Some(frame);
        } else if is_due(faults.double) {
            add(&counters.doubled, 1);
            out.extend([frame.clone(), frame]);
        } else {
            out.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(fault: &str, deliveries: u64) -> (Vec<u64>, Counts) {
        let faults: Faults = fault.parse().unwrap();
        let (counters, mut maker, mut out) =
            (Counters::default(), FaultMaker::default(), Vec::new());
        // In batches, as they come.
        for batch in (1..=deliveries).collect::<Vec<_>>().chunks(4) {
            let mut frames = batch.iter().map(|n| Frame::text(n.to_string())).collect();
            maker.pass(&mut frames, &faults, &counters, &mut out);
        }
        let numbers = out
            .iter()
            .map(|frame| frame.to_text().unwrap().parse().unwrap());
        (numbers.collect(), counters.read())
    }

    #[test]
    fn every_third_is_lost() {
        let (numbers, counts) = sent("lose=3", 7);
        assert_eq!(numbers, [1, 2, 4, 5, 7]);
        assert_eq!((counts.deliveries, counts.lost), (7, 2));
    }

    #[test]
    fn every_third_is_sent_twice() {
        let (numbers, counts) = sent("double=3", 7);
        assert_eq!(numbers, [1, 2, 3, 3, 4, 5, 6, 6, 7]);
        assert_eq!((counts.deliveries, counts.doubled), (7, 2));
    }

    #[test]
    fn every_third_changes_places_with_the_next() {
        let (numbers, counts) = sent("reorder=3", 8);
        assert_eq!(numbers, [1, 2, 4, 3, 5, 7, 6, 8]);
        assert_eq!((counts.deliveries, counts.reordered), (8, 2));
    }

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        let both = "lose=3".parse::<Faults>().unwrap();
        let both = both.and("delay=20".parse().unwrap());
        assert_eq!(both.lose, NonZeroU64::new(3));
        assert_eq!(both.delay, Some(Duration::from_millis(20)));
        for wrong in ["", "lose", "lose=0", "lose=-1", "burn=3"] {
            assert!(wrong.parse::<Faults>().is_err(), "{wrong}");
        }
    }
}
