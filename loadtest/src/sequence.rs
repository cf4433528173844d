//! Whether numbers that were sent in order arrive in order, each once.

use std::collections::BTreeSet;

/// What one reader received of one sender. Numbers are counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The greatest number received.
    greatest: u64,
    /// Numbers below the greatest that have not come.
    missing: BTreeSet<u64>,
    doubled: u64,
    reordered: u64,
}

/// What was wrong, summed over readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
}

impl Sequence {
    pub fn receive(&mut self, number: u64) {
        if number > self.greatest {
            self.missing.extend(self.greatest + 1..number);
            self.greatest = number;
        } else if self.missing.remove(&number) {
            self.reordered += 1;
        } else {
            self.doubled += 1;
        }
    }

    /// `sent`: the greatest number that was sent. `refused`: whether a number was refused, so that it may be missing.
    pub fn faults(&self, sent: u64, refused: impl Fn(u64) -> bool) -> Faults {
        let late = self.greatest + 1..=sent;
        let unreceived = self.missing.iter().copied().chain(late);
        let lost = unreceived.filter(|number| !refused(*number)).count();
        Faults {
            lost: u64::try_from(lost).unwrap_or(u64::MAX),
            doubled: self.doubled,
            reordered: self.reordered,
        }
    }
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(received: &[u64], sent: u64) -> [u64; 3] {
        let mut sequence = Sequence::default();
        for number in received {
            sequence.receive(*number);
        }
        let faults = sequence.faults(sent, |number| number == 100);
        [faults.lost, faults.doubled, faults.reordered]
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        assert_eq!(faults(&[1, 2, 3], 3), [0, 0, 0]);
        assert_eq!(faults(&[1, 3], 3), [1, 0, 0]);
        assert_eq!(faults(&[1, 2], 3), [1, 0, 0]);
        assert_eq!(faults(&[], 2), [2, 0, 0]);
        assert_eq!(faults(&[1, 2, 2, 3], 3), [0, 1, 0]);
        assert_eq!(faults(&[1, 3, 2], 3), [0, 0, 1]);
        assert_eq!(faults(&[1, 3, 2, 2], 3), [0, 1, 1]);
    }

    #[test]
    fn a_refused_number_is_not_lost() {
        let all: Vec<u64> = (1..100).collect();
        assert_eq!(faults(&all, 100), [0, 0, 0]);
    }
}
