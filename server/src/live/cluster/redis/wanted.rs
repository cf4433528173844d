//! The buckets that the backplane subscribes to: those that have users, and those that had some a moment ago.

use crate::live::cluster::backplane::Bucket;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How long a bucket without users stays subscribed: its rooms are often opened again.
const LINGER: Duration = Duration::from_secs(30);

/// The users of each bucket, or since when it has none.
#[derive(Default)]
pub(super) struct Wanted {
    buckets: Mutex<HashMap<Bucket, BucketUsers>>,
    /// Notified when a bucket is wanted that was not.
    pub(super) changed: Notify,
}

#[derive(Clone, Copy)]
enum BucketUsers {
    Some(usize),
    NoneSince(Instant),
}

impl Wanted {
    fn buckets(&self) -> MutexGuard<'_, HashMap<Bucket, BucketUsers>> {
        self.buckets.lock()
    }

    pub(super) fn add(&self, bucket: Bucket) {
        let mut buckets = self.buckets();
        let before = buckets.insert(bucket, BucketUsers::Some(1));
        match before {
            Some(BucketUsers::Some(users)) => {
                buckets.insert(bucket, BucketUsers::Some(users + 1));
            }
            Some(BucketUsers::NoneSince(_)) => {}
            None => self.changed.notify_one(),
        }
    }

    pub(super) fn remove(&self, bucket: Bucket) {
        let mut buckets = self.buckets();
        let after = match buckets.get(&bucket) {
            Some(BucketUsers::Some(users)) if *users > 1 => BucketUsers::Some(users - 1),
            _ => BucketUsers::NoneSince(Instant::now()),
        };
        buckets.insert(bucket, after);
    }

    /// The buckets to subscribe to now.
    pub(super) fn current(&self) -> HashSet<Bucket> {
        let mut buckets = self.buckets();
        buckets.retain(|_, users| match users {
            BucketUsers::Some(_) => true,
            BucketUsers::NoneSince(since) => since.elapsed() < LINGER,
        });
        buckets.keys().copied().collect()
    }
}
