//! C4 of docs/delivery.md: how soon readers receive entries that were committed and never announced.

use super::{
    Figure,
    people::{PATIENCE, People},
};
use crate::retry::retry_unavailable;
use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use roost_client::{Client, Socket};
use roost_schema::{ItemId, Op, OpId, RoomEvents, RoomId, SendMessage};
use roost_testbed::cluster::{Cluster, Redis};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const CLIENT_LEARNS: Duration = Duration::from_secs(5);
const INSTANCE_LEARNS: Duration = Duration::from_secs(2);
/// Watching sockets, which Caddy spreads over the instances.
const WATCHES: usize = 9;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Measures the trials. With Redis, Redis is killed just before each write, so that the entry's announcement is lost.
pub(super) async fn measure(
    people: &People,
    redis: Redis,
    cluster: &mut Cluster,
) -> Result<Vec<Figure>> {
    let mut figure = Figure::new(
        "C4",
        "a client receives what was not announced to its instance",
        CLIENT_LEARNS,
    );
    let pair = people.pairs.first().context("there is a trial")?;
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        watches.push(pair.watch(None).await?);
    }
    for trial in 0..people.pairs.len() {
        if redis == Redis::Running {
            until_linked(cluster).await?;
            cluster.redis().context("there is a Redis")?.kill_nine()?;
        }
        let began = Instant::now();
        let item = send(&pair.person, pair.room, trial).await?;
        let receiving = watches.iter_mut().map(|watch| put_of(watch, item));
        try_join_all(receiving).await?;
        figure.times.push(began.elapsed());
        if redis == Redis::Running {
            cluster.redis().context("there is a Redis")?.restart()?;
        }
    }
    if redis == Redis::Running {
        until_linked(cluster).await?;
    }
    // A client receives the entry from its instance, so the instance had it by then.
    let mut instance = Figure::new("C4", "and the instance before them", INSTANCE_LEARNS);
    instance.times.clone_from(&figure.times);
    Ok(vec![figure, instance])
}

/// Waits until every instance receives the others' announcements.
pub(super) async fn until_linked(cluster: &Cluster) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for instance in cluster.instances() {
        let url = format!("{}/healthz", instance.url());
        loop {
            let report: serde_json::Value = reqwest::get(&url).await?.json().await?;
            if report["status"] == "ok" {
                break;
            }
            if Instant::now() > deadline {
                bail!("an instance does not become well: {report}");
            }
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// Sends one operation until it is acknowledged.
pub(super) async fn send(client: &Client, room: RoomId, trial: usize) -> Result<ItemId> {
    let op_id: OpId = format!("trial-{trial}-{}", ItemId::generate()).parse()?;
    let input = SendMessage {
        text: format!("trial {trial}"),
        id: None,
        op_id: Some(op_id),
    };
    let sending = async || client.send_message(room, &input).await;
    Ok(retry_unavailable(Duration::MAX, sending).await?.id)
}

async fn put_of(watch: &mut Socket, item: ItemId) -> Result<()> {
    let receiving = async {
        loop {
            let event = watch.next_event().await.context("a watcher was cut off")?;
            if event.name == "room:events" {
                let frame: RoomEvents = event.read()?;
                let mut puts = frame.events.iter().filter(|event| event.op == Op::Put);
                if puts.any(|event| event.item == item) {
                    return Ok(());
                }
            }
        }
    };
    timeout(PATIENCE, receiving)
        .await
        .context("a watcher never received it")?
}
