//! The buckets that are to be heard: those that have users, and those that had some a moment ago.

use crate::live::backplane::Bucket;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How long a bucket without users is still heard: rooms come back.
const LINGER: Duration = Duration::from_secs(30);

/// How many users each bucket has, and since when it has none.
#[derive(Default)]
pub(super) struct Wanted {
    buckets: Mutex<HashMap<Bucket, Users>>,
    /// A bucket is wanted that was not.
    pub(super) changed: Notify,
}

#[derive(Clone, Copy)]
enum Users {
    Some(usize),
    NoneSince(Instant),
}

impl Wanted {
    fn buckets(&self) -> MutexGuard<'_, HashMap<Bucket, Users>> {
        self.buckets.lock()
    }

    pub(super) fn add(&self, bucket: Bucket) {
        let mut buckets = self.buckets();
        let before = buckets.insert(bucket, Users::Some(1));
        match before {
            Some(Users::Some(users)) => {
                buckets.insert(bucket, Users::Some(users + 1));
            }
            Some(Users::NoneSince(_)) => {}
            None => self.changed.notify_one(),
        }
    }

    pub(super) fn remove(&self, bucket: Bucket) {
        let mut buckets = self.buckets();
        let after = match buckets.get(&bucket) {
            Some(Users::Some(users)) if *users > 1 => Users::Some(users - 1),
            _ => Users::NoneSince(Instant::now()),
        };
        buckets.insert(bucket, after);
    }

    /// The buckets that are to be heard now.
    pub(super) fn current(&self) -> HashSet<Bucket> {
        let mut buckets = self.buckets();
        buckets.retain(|_, users| match users {
            Users::Some(_) => true,
            Users::NoneSince(since) => since.elapsed() < LINGER,
        });
        buckets.keys().copied().collect()
    }
}
