//! C6 of docs/delivery.md: how soon people see each other come and go.

use super::{
    Figure,
    people::{Pair, People, placed, presence_change},
};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use roost_client::{Client, Endpoint, Socket};
use roost_schema::{PresenceChanged, PresenceState};
use roost_testbed::cluster::{Cluster, Redis};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const SEEN: Duration = Duration::from_secs(1);
/// The ten seconds of a lost connection, and the time that any change takes.
const LOST_GONE: Duration = Duration::from_secs(11);
const DEAD_CLIENT: Duration = Duration::from_secs(30);
const DEAD_INSTANCE: Duration = Duration::from_secs(15);
/// Longer than a lost connection takes until its person is gone.
const BACK_WATCHED: Duration = Duration::from_secs(12);

/// Without Redis people on different instances do not see each other, so all trials use one instance.
pub(super) async fn measure(
    people: &People,
    redis: Redis,
    cluster: &mut Cluster,
) -> Result<Vec<Figure>> {
    let first = Endpoint::new(&cluster.instance(0)?.url())?;
    let at = (redis == Redis::Off).then_some(&first);
    let mut figures = vec![
        Figure::new("C6", "a join is seen", SEEN),
        Figure::new("C6", "an explicit leave is seen", SEEN),
        Figure::new("C6", "a lost connection is seen moving", SEEN),
        Figure::new("C6", "a lost connection is gone after 10 s", LOST_GONE),
        Figure::new(
            "C6",
            "who comes back meanwhile is seen, and never gone",
            SEEN,
        ),
        Figure::new("C6", "a sign-out is seen", SEEN),
    ];
    for times in try_join_all(people.pairs.iter().map(|pair| come_and_go(pair, at))).await? {
        for (figure, time) in figures.iter_mut().zip(times) {
            figure.times.push(time);
        }
    }
    let mut dead = Figure::new("C6", "a client that says nothing more is gone", DEAD_CLIENT);
    dead.times = try_join_all(people.pairs.iter().map(|pair| fall_silent(pair, at))).await?;
    figures.push(dead);
    if redis == Redis::Running {
        figures.push(kill_an_instance(people, cluster).await?);
    }
    Ok(figures)
}

async fn come_and_go(pair: &Pair, at: Option<&Endpoint>) -> Result<[Duration; 6]> {
    let mut watch = pair.watch(at).await?;
    let user = pair.person.user_id();
    let join = async |watch: &mut Socket| -> Result<(Socket, Duration)> {
        let socket = pair.connect(at).await?;
        let began = Instant::now();
        socket.join(pair.room, None).await?;
        let seen = presence_change(watch, user, PresenceState::Here).await?;
        Ok((socket, seen - began))
    };
    let (socket, joined) = join(&mut watch).await?;
    let present = placed(&pair.watcher, at)?.list_presence(pair.room).await?;
    let entries = present.iter().filter(|entry| entry.user_id == user);
    ensure!(
        entries.count() <= 1,
        "one connection has two entries: {present:?}"
    );

    let began = Instant::now();
    socket.leave(pair.room).await?;
    let left = presence_change(&mut watch, user, PresenceState::Gone).await? - began;

    socket.join(pair.room, None).await?;
    presence_change(&mut watch, user, PresenceState::Here).await?;
    let began = Instant::now();
    drop(socket);
    let moving = presence_change(&mut watch, user, PresenceState::Moving).await? - began;
    let gone = presence_change(&mut watch, user, PresenceState::Gone).await? - began;

    let (socket, _) = join(&mut watch).await?;
    drop(socket);
    presence_change(&mut watch, user, PresenceState::Moving).await?;
    let (came_back, back) = join(&mut watch).await?;
    never_gone(&mut watch, pair).await?;

    came_back.leave(pair.room).await?;
    presence_change(&mut watch, user, PresenceState::Gone).await?;
    let device = placed(&pair.another_device().await?, at)?;
    let socket = Socket::connect(&device).await?;
    socket.join(pair.room, None).await?;
    presence_change(&mut watch, user, PresenceState::Here).await?;
    let began = Instant::now();
    device.logout().await?;
    let signed_out = presence_change(&mut watch, user, PresenceState::Gone).await? - began;
    Ok([joined, left, moving, gone, back, signed_out])
}

async fn never_gone(watch: &mut Socket, pair: &Pair) -> Result<()> {
    let watching = async {
        while let Some(event) = watch.next_event().await {
            if event.name == "presence:changed" {
                let change: PresenceChanged = event.read()?;
                let is_gone = change.presence.state == PresenceState::Gone;
                ensure!(
                    !(is_gone && change.presence.user_id == pair.person.user_id()),
                    "who had come back was shown as gone"
                );
            }
        }
        anyhow::bail!("the watcher was cut off")
    };
    // The trial succeeds when no event comes until then.
    timeout(BACK_WATCHED, watching).await.unwrap_or(Ok(()))
}

/// A polling session that joins and never polls again.
async fn fall_silent(pair: &Pair, at: Option<&Endpoint>) -> Result<Duration> {
    let mut watch = pair.watch(at).await?;
    let client = placed(&pair.person, at)?;
    let polling = Polling::open(&client).await?;
    let join = format!("420{}", json!(["room:join", { "room": pair.room }]));
    polling.post(&client, join).await?;
    let user = client.user_id();
    presence_change(&mut watch, user, PresenceState::Here).await?;
    let began = Instant::now();
    Ok(presence_change(&mut watch, user, PresenceState::Gone).await? - began)
}

/// A polling session.
pub(super) struct Polling {
    path: String,
}

impl Polling {
    pub(super) async fn open(client: &Client) -> Result<Self> {
        let path = "/socket.io/?EIO=4&transport=polling";
        let request = client.endpoint().request(Method::GET, path);
        let opened = request.send().await?.error_for_status()?.text().await?;
        let packet: serde_json::Value = serde_json::from_str(opened.trim_start_matches('0'))?;
        let sid = packet["sid"].as_str().context("a session has an id")?;
        let polling = Self {
            path: format!("{path}&sid={sid}"),
        };
        let token = client.access_token().await?;
        polling
            .post(client, format!("40{}", json!({ "token": token.expose() })))
            .await?;
        let mut received = String::new();
        while !received.contains("40{") {
            let request = client.endpoint().request(Method::GET, &polling.path);
            received = request.send().await?.error_for_status()?.text().await?;
            if received.contains("44{") {
                anyhow::bail!("not connected: {received}");
            }
        }
        Ok(polling)
    }

    pub(super) async fn post(&self, client: &Client, packet: String) -> Result<()> {
        let request = client.endpoint().request(Method::POST, &self.path);
        request.body(packet).send().await?.error_for_status()?;
        Ok(())
    }
}

/// Kills the first instance. The watched people were on it and do not come back; the watchers are on the second.
async fn kill_an_instance(people: &People, cluster: &mut Cluster) -> Result<Figure> {
    let first = Endpoint::new(&cluster.instance(0)?.url())?;
    let second = Endpoint::new(&cluster.instance(1)?.url())?;
    let mut watches = Vec::new();
    for pair in &people.pairs {
        let mut watch = pair.watch(Some(&second)).await?;
        let socket = pair.connect(Some(&first)).await?;
        socket.join(pair.room, None).await?;
        presence_change(&mut watch, pair.person.user_id(), PresenceState::Here).await?;
        watches.push((watch, pair.person.user_id(), socket));
    }
    let began = Instant::now();
    cluster.kill_nine(0)?;
    let gone = watches.iter_mut().map(async |(watch, user, _)| {
        let gone = presence_change(watch, *user, PresenceState::Gone).await?;
        anyhow::Ok(gone - began)
    });
    let mut figure = Figure::new(
        "C6",
        "the people of a killed instance are gone",
        DEAD_INSTANCE,
    );
    figure.times = try_join_all(gone).await?;
    cluster.restart(0)?;
    Ok(figure)
}
