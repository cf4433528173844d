//! The backplane on Redis: publish and subscribe, on channels that buckets of rooms share.
//!
//! Publishing and subscribing use two clients. One task owns the subscribing one: it subscribes to the wanted buckets,
//! and each second publishes a canary to itself. When two canaries do not come back it makes another client, with
//! back-off. A canary is also written to a key, because a replica, and a Redis that is full, carry messages but take no
//! writes. The library does not resubscribe by itself: one that did was seen to receive nothing any more, and a
//! half-open connection shows only by silence.

use super::{COMMAND_TIMEOUT, MESSAGES_WAITING_MAX, Redis, canary::Canary, wanted::Wanted};
use crate::live::cluster::backplane::{Arrival, Arrivals, Backplane, Bucket, Channel, Link};
use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use fred::{
    clients::Client,
    interfaces::{ClientLike, EventInterface, LuaInterface, PubsubInterface},
    types::Message,
};
use roost_schema::InstanceId;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of messages that may wait to leave.
const OUTGOING_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Messages that may wait to leave.
const OUTGOING_MAX: usize = 16_384;
/// Messages that leave in one round trip.
const OUTGOING_BATCH: usize = 128;
/// Arrivals that may wait to be taken.
const ARRIVALS_MAX: usize = MESSAGES_WAITING_MAX;
/// Channels that one command subscribes to.
const SUBSCRIBE_BATCH: usize = 256;
/// A message that could not leave for this long is outdated, and is dropped.
const STALE_AFTER: Duration = Duration::from_secs(1);
const CANARY_EVERY: Duration = Duration::from_secs(1);
/// Canaries in a row that may be missing.
const CANARIES_MISSED_MAX: u32 = 2;
/// How long subscribing may take, reconnecting included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
/// Pauses before another try: from the first to the longest, doubling, with jitter.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Writes a canary, and publishes it if the write succeeds.
const CANARY_SCRIPT: &str = "
redis.call('SET', KEYS[1], ARGV[1], 'PX', 10000)
return redis.call('PUBLISH', KEYS[1], ARGV[1])
";

/// Each message begins with the id of the sending instance.
const ENVELOPE_BYTES: usize = 16;

/// The head of this file describes it.
pub struct RedisBackplane {
    instance: InstanceId,
    redis: Redis,
    outgoing: Outgoing,
    wanted: Arc<Wanted>,
}

impl RedisBackplane {
    /// Starts its tasks on `tasks`; they end when `cancel` fires.
    pub fn start(
        redis: Redis,
        instance: InstanceId,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> (Arc<dyn Backplane>, Arrivals) {
        let (queue, leaving) = mpsc::channel(OUTGOING_MAX);
        let outgoing = Outgoing {
            queue,
            budget: Arc::new(Semaphore::new(OUTGOING_BYTES_MAX)),
        };
        let (arrived, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let wanted = Arc::new(Wanted::default());
        let (until, publishing) = (cancel.clone(), redis.clone());
        tasks.spawn(async move {
            let publishing = Box::pin(publish(publishing, leaving));
            until.run_until_cancelled(publishing).await;
        });
        let subscriber = Subscriber {
            own: redis.name(&format!("canary:{instance}")),
            instance,
            redis: redis.clone(),
            outgoing: outgoing.clone(),
            wanted: Arc::clone(&wanted),
            arrived,
            has_missed: false,
        };
        let until = cancel.clone();
        tasks.spawn(async move { until.run_until_cancelled(Box::pin(subscriber.run())).await });
        let backplane = Self {
            instance,
            redis,
            outgoing,
            wanted,
        };
        (Arc::new(backplane), arrivals)
    }
}

impl Backplane for RedisBackplane {
    fn send(&self, channel: Channel, bytes: Bytes) {
        let mut envelope = BytesMut::with_capacity(ENVELOPE_BYTES + bytes.len());
        envelope.put_slice(self.instance.as_uuid().as_bytes());
        envelope.put_slice(&bytes);
        let name = channel_name(&self.redis, channel);
        self.outgoing
            .push(OutgoingKind::Message, name, envelope.freeze());
    }

    fn serve(&self, bucket: Bucket) {
        self.wanted.add(bucket);
    }

    fn release(&self, bucket: Bucket) {
        self.wanted.remove(bucket);
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.redis.link()
    }
}

fn channel_name(redis: &Redis, channel: Channel) -> String {
    match channel {
        Channel::Everyone => redis.name("everyone"),
        Channel::Bucket(bucket) => redis.name(&format!("bucket:{}", bucket.number())),
    }
}

/// The queue of messages that wait to leave.
#[derive(Clone)]
struct Outgoing {
    queue: mpsc::Sender<OutgoingMessage>,
    budget: Arc<Semaphore>,
}

struct OutgoingMessage {
    kind: OutgoingKind,
    channel: String,
    bytes: Bytes,
    queued_at: Instant,
    _budget: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OutgoingKind {
    Message,
    Canary,
}

impl Outgoing {
    fn push(&self, kind: OutgoingKind, channel: String, bytes: Bytes) {
        let weight = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.budget).try_acquire_many_owned(weight);
        let is_queued = budget.is_ok_and(|budget| {
            let leaving = OutgoingMessage {
                kind,
                channel,
                bytes,
                queued_at: Instant::now(),
                _budget: budget,
            };
            self.queue.try_send(leaving).is_ok()
        });
        if !is_queued {
            dropped(1);
        }
    }
}

fn dropped(messages: usize) {
    metrics::counter!("roost_backplane_dropped_total").increment(messages as u64);
}

/// Publishes the queue in order, many messages in one round trip.
async fn publish(redis: Redis, mut leaving: mpsc::Receiver<OutgoingMessage>) {
    let mut batch = Vec::with_capacity(OUTGOING_BATCH);
    while leaving.recv_many(&mut batch, OUTGOING_BATCH).await > 0 {
        let count = batch.len();
        // Outdated messages are dropped: receivers read from the journal what they missed.
        batch.retain(|message| message.queued_at.elapsed() < STALE_AFTER);
        let left = if redis.commands().is_connected() {
            publish_batch(&redis, &batch).await
        } else {
            0
        };
        if left < count {
            dropped(count - left);
        }
        batch.clear();
    }
}

/// Publishes a batch; returns how many messages have left.
async fn publish_batch(redis: &Redis, batch: &[OutgoingMessage]) -> usize {
    let pipeline = redis.commands().pipeline();
    let publishing = async {
        let mut answers = Vec::new();
        for message in batch {
            let (channel, bytes) = (message.channel.clone(), message.bytes.clone());
            match message.kind {
                OutgoingKind::Message => pipeline.publish::<(), _, _>(channel, bytes).await?,
                OutgoingKind::Canary => {
                    answers.push(redis.commands().eval(CANARY_SCRIPT, channel, bytes).await);
                }
            }
        }
        answers.extend(pipeline.try_all::<i64>().await);
        Ok::<_, fred::error::Error>(answers)
    };
    let answers = match timeout(COMMAND_TIMEOUT, publishing).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => vec![Err(error)],
        Err(_) => return 0,
    };
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        tracing::debug!(%error, "a message did not leave");
    }
    answers.iter().filter(|answer| answer.is_ok()).count()
}

/// The task that subscribes and receives.
struct Subscriber {
    /// The channel of this instance's canaries.
    own: String,
    instance: InstanceId,
    redis: Redis,
    outgoing: Outgoing,
    wanted: Arc<Wanted>,
    arrived: mpsc::Sender<Arrival>,
    /// An arrival did not fit into the queue, and `Missed` is still to be sent.
    has_missed: bool,
}

impl Subscriber {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            if let Err(error) = self.subscribe().await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "the backplane is not heard, trying again"
                );
            }
            self.redis.set_link(Link::Down);
            // A link that held for a while resets the back-off.
            failures = if began.elapsed() > PAUSE_MAX * 4 {
                0
            } else {
                failures + 1
            };
            let longest = PAUSE_MIN
                .saturating_mul(1 << failures.min(6))
                .min(PAUSE_MAX);
            sleep(longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        }
    }

    /// Connects, subscribes and receives, until the connection or the canaries fail.
    async fn subscribe(&mut self) -> anyhow::Result<()> {
        let client = self.redis.subscriber()?;
        let mut messages = client.message_rx();
        let ended = Box::pin(self.receive(&client, &mut messages)).await;
        // A half-open connection would not answer, so the wait is bounded.
        let _ = timeout(PAUSE_MAX, client.quit()).await;
        ended
    }

    async fn receive(
        &mut self,
        client: &Client,
        messages: &mut tokio::sync::broadcast::Receiver<Message>,
    ) -> anyhow::Result<()> {
        let connecting = async {
            let connection = client.init().await?;
            let fixed = vec![
                channel_name(&self.redis, Channel::Everyone),
                self.own.clone(),
            ];
            client.subscribe(fixed).await?;
            anyhow::Ok(connection)
        };
        let mut connection = timeout(CONNECT_PATIENCE, connecting).await??;
        let mut confirmed = HashSet::new();
        self.reconcile(client, &mut confirmed).await?;
        self.forward(Arrival::Missed);
        let mut canary = Canary::default();
        let mut ticks = interval(CANARY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) if *message.channel == *self.own => {
                        if let Some(lag) = canary.came_back(&message) {
                            metrics::gauge!("roost_backplane_canary_lag_seconds").set(lag.as_secs_f64());
                            self.redis.set_up(lag);
                        }
                    }
                    Ok(message) => self.take(&message),
                    Err(RecvError::Lagged(_)) => self.forward(Arrival::Missed),
                    Err(RecvError::Closed) => bail!("the connection is closed"),
                },
                () = self.wanted.changed.notified() => self.reconcile(client, &mut confirmed).await?,
                _ = ticks.tick() => {
                    if canary.missed() >= CANARIES_MISSED_MAX {
                        self.redis.reconnect().await;
                        bail!("the canaries do not come back");
                    }
                    self.outgoing.push(OutgoingKind::Canary, self.own.clone(), canary.next());
                    self.reconcile(client, &mut confirmed).await?;
                }
                ended = &mut connection => {
                    ended.context("the connection's task failed")??;
                    bail!("the connection ended");
                }
            }
        }
    }

    /// Subscribes to wanted buckets that are not confirmed, and unsubscribes from confirmed ones that are not wanted.
    async fn reconcile(
        &mut self,
        client: &Client,
        confirmed: &mut HashSet<Bucket>,
    ) -> anyhow::Result<()> {
        let wanted = self.wanted.current();
        let redis = self.redis.clone();
        let names = |buckets: &[Bucket]| -> Vec<String> {
            let name = |bucket: &Bucket| channel_name(&redis, Channel::Bucket(*bucket));
            buckets.iter().map(name).collect()
        };
        let surplus: Vec<_> = confirmed.difference(&wanted).copied().collect();
        for buckets in surplus.chunks(SUBSCRIBE_BATCH) {
            client.unsubscribe(names(buckets)).await?;
        }
        confirmed.retain(|bucket| wanted.contains(bucket));
        let missing: Vec<_> = wanted.difference(confirmed).copied().collect();
        for buckets in missing.chunks(SUBSCRIBE_BATCH) {
            client.subscribe(names(buckets)).await?;
            // The library drops the confirmations. Redis answers the commands of a connection in order, so the answer
            // to a later ping confirms them.
            let () = client.ping(None).await?;
            confirmed.extend(buckets);
            self.forward(Arrival::Confirmed(buckets.to_vec()));
        }
        Ok(())
    }

    fn take(&mut self, message: &Message) {
        let Some(bytes) = message.value.clone().into_bytes() else {
            return;
        };
        let Some((sender, body)) = bytes.split_at_checked(ENVELOPE_BYTES) else {
            return;
        };
        if sender != self.instance.as_uuid().as_bytes() {
            self.forward(Arrival::Message(bytes.slice_ref(body)));
        }
    }

    fn forward(&mut self, arrival: Arrival) {
        if self.has_missed {
            // Sent only once half of the queue is free: each `Missed` makes the instance look at every room.
            if self.arrived.capacity() < ARRIVALS_MAX / 2 {
                return;
            }
            self.has_missed = self.arrived.try_send(Arrival::Missed).is_err();
        }
        if self.arrived.try_send(arrival).is_err() {
            self.has_missed = true;
        }
    }
}
