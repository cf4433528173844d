//! The contract of the backplane, on a real Redis: instances receive messages of each other at most once, in order, and
//! know from when on they receive them.

use crate::support::{DEADLINE, TcpProxy, redis_url};
use bytes::Bytes;
use fred::{cmd, interfaces::ClientLike};
use roost_schema::{InstanceId, RoomId};
use roost_server::live::{
    Arrival, Arrivals, Backplane, Bucket, Channel, Link, Redis, RedisBackplane,
};
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// One instance's end of the backplane.
struct End {
    backplane: Arc<dyn Backplane>,
    arrivals: Arrivals,
    _stop: DropGuard,
}

impl End {
    async fn open(url: &str, prefix: &str) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let redis = Redis::open(url, prefix).unwrap();
        let (backplane, arrivals) =
            RedisBackplane::start(redis, InstanceId::generate(), &tasks, &cancel);
        let end = Self {
            backplane,
            arrivals,
            _stop: cancel.drop_guard(),
        };
        end.until(Link::is_up).await;
        end
    }

    async fn until(&self, is_so: impl Fn(Link) -> bool) {
        let mut link = self.backplane.link();
        let wanted = timeout(DEADLINE, link.wait_for(|link| is_so(*link))).await;
        wanted.expect("the link changes in time").unwrap();
    }

    /// Serves a bucket and waits until its messages arrive.
    async fn serve(&mut self, bucket: Bucket) {
        self.backplane.serve(bucket);
        self.confirmed(bucket).await;
    }

    async fn confirmed(&mut self, bucket: Bucket) {
        loop {
            if let Arrival::Confirmed(buckets) = self.next().await
                && buckets.contains(&bucket)
            {
                return;
            }
        }
    }

    async fn next(&mut self) -> Arrival {
        let arrival = timeout(DEADLINE, self.arrivals.recv()).await;
        arrival.expect("something arrives").expect("it goes on")
    }

    /// The next message; other events are skipped.
    async fn message(&mut self) -> Bytes {
        loop {
            if let Arrival::Message(bytes) = self.next().await {
                return bytes;
            }
        }
    }
}

fn fresh() -> (String, Bucket) {
    let room = RoomId::generate();
    (format!("test-{room}"), Bucket::of(room))
}

fn other_than(bucket: Bucket) -> Bucket {
    std::iter::repeat_with(|| Bucket::of(RoomId::generate()))
        .find(|other| *other != bucket)
        .unwrap()
}

#[tokio::test]
async fn what_is_sent_reaches_those_who_serve_it_once_and_in_order() {
    const MESSAGES: usize = 5_000;
    // Several round trips full, and few enough that no message waits a second on a busy machine: it would be dropped.
    const AT_ONCE: usize = 500;
    let (prefix, bucket) = fresh();
    let mut one = End::open(&redis_url(), &prefix).await;
    let mut two = End::open(&redis_url(), &prefix).await;
    let mut three = End::open(&redis_url(), &prefix).await;
    one.serve(bucket).await;
    two.serve(bucket).await;
    three.serve(other_than(bucket)).await;
    for first in (0..MESSAGES).step_by(AT_ONCE) {
        let numbers = first..first + AT_ONCE;
        for number in numbers.clone() {
            one.backplane
                .send(Channel::Bucket(bucket), number.to_string().into());
        }
        for number in numbers {
            assert_eq!(two.message().await, number.to_string().as_bytes());
        }
    }
    one.backplane.send(Channel::Everyone, "end".into());
    // No message came twice, to an instance that does not serve the bucket, or back to its sender.
    assert_eq!(two.message().await, "end");
    assert_eq!(three.message().await, "end");
    two.backplane.send(Channel::Everyone, "over".into());
    assert_eq!(one.message().await, "over");
}

#[tokio::test]
async fn systems_with_different_prefixes_do_not_hear_each_other() {
    let ((prefix, bucket), (other_prefix, _)) = (fresh(), fresh());
    let mut one = End::open(&redis_url(), &prefix).await;
    let mut two = End::open(&redis_url(), &prefix).await;
    let stranger = End::open(&redis_url(), &other_prefix).await;
    two.serve(bucket).await;
    one.serve(bucket).await;
    stranger
        .backplane
        .send(Channel::Bucket(bucket), "theirs".into());
    stranger.backplane.send(Channel::Everyone, "theirs".into());
    one.backplane.send(Channel::Bucket(bucket), "ours".into());
    assert_eq!(two.message().await, "ours");
}

#[tokio::test]
async fn a_link_that_broke_is_made_anew_and_says_so() {
    let (prefix, bucket) = fresh();
    let proxy = TcpProxy::to(&redis_url()).await;
    let mut one = End::open(&redis_url(), &prefix).await;
    let mut two = End::open(&proxy.url(), &prefix).await;
    two.serve(bucket).await;
    proxy.cut();
    // The cut is reported: the bucket is confirmed again, on another connection.
    two.confirmed(bucket).await;
    one.backplane.send(Channel::Bucket(bucket), "again".into());
    assert_eq!(two.message().await, "again");
    // Messages arrive in both directions, though the sending connection was cut, too.
    one.serve(bucket).await;
    two.until(Link::is_up).await;
    two.backplane.send(Channel::Bucket(bucket), "back".into());
    assert_eq!(one.message().await, "back");
}

#[tokio::test]
async fn a_silent_connection_is_found_by_the_canary() {
    let (prefix, bucket) = fresh();
    let proxy = TcpProxy::to(&redis_url()).await;
    let mut two = End::open(&proxy.url(), &prefix).await;
    two.serve(bucket).await;
    proxy.freeze();
    two.until(|link| link == Link::Down).await;
    proxy.mend();
    two.until(Link::is_up).await;
    two.confirmed(bucket).await;
    let one = End::open(&redis_url(), &prefix).await;
    one.backplane.send(Channel::Bucket(bucket), "heard".into());
    assert_eq!(two.message().await, "heard");
}

/// A replica or a full Redis carries messages and refuses writes.
#[tokio::test]
async fn a_redis_that_refuses_to_write_counts_as_down() {
    let (prefix, bucket) = fresh();
    let operator = Redis::open(&redis_url(), &prefix).unwrap();
    operator.commands().wait_for_connect().await.unwrap();
    let allow = async |rules: &[&str]| {
        let words = [&["SETUSER", prefix.as_str()], rules].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let set = operator.commands().custom(cmd!("ACL"), words);
        let _: String = set.await.unwrap();
    };
    allow(&["on", ">secret", "~*", "&*", "+@all"]).await;
    let url = redis_url().replacen("://", &format!("://{prefix}:secret@"), 1);
    let mut one = End::open(&url, &prefix).await;
    one.serve(bucket).await;
    allow(&["-set"]).await;
    one.until(|link| link == Link::Down).await;
    let two = End::open(&redis_url(), &prefix).await;
    two.backplane.send(Channel::Bucket(bucket), "heard".into());
    assert_eq!(one.message().await, "heard");
    allow(&["+set"]).await;
    one.until(Link::is_up).await;
    let words = vec!["DELUSER".to_owned(), prefix.clone()];
    let _: i64 = operator
        .commands()
        .custom(cmd!("ACL"), words)
        .await
        .unwrap();
}

#[tokio::test]
async fn without_redis_sending_costs_nothing_and_the_link_is_down() {
    let (prefix, bucket) = fresh();
    let proxy = TcpProxy::to(&redis_url()).await;
    let mut one = End::open(&proxy.url(), &prefix).await;
    one.serve(bucket).await;
    proxy.refuse();
    one.until(|link| link == Link::Down).await;
    for _ in 0..100_000 {
        one.backplane.send(Channel::Bucket(bucket), "lost".into());
    }
    proxy.mend();
    one.until(Link::is_up).await;
    let mut two = End::open(&redis_url(), &prefix).await;
    two.serve(bucket).await;
    one.backplane.send(Channel::Bucket(bucket), "kept".into());
    // Messages that waited during the failure were dropped, because they would be stale.
    assert_eq!(two.message().await, "kept");
}
