//! C8 and C9 of docs/delivery.md: instances that are killed or restarted while people work.

use super::{
    Figure,
    commands::{Via, Writers},
    missed::send,
    people::{PATIENCE, People},
};
use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use parking_lot::Mutex;
use reqwest::Method;
use roost_client::{Client, RoomReader};
use roost_schema::{ItemId, RoomId};
use roost_testbed::cluster::{Cluster, INSTANCES};
use serde_json::json;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

const RECONNECTED: Duration = Duration::from_secs(5);
/// The request interval of each client; all clients together make 100 requests a second.
const CLIENTS: usize = 20;
const ASK_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn measure(people: &People, cluster: &mut Cluster) -> Result<Vec<Figure>> {
    let pair = people.pairs.first().context("there is a trial")?;
    let readers: Vec<_> = people
        .pairs
        .iter()
        .map(|_| Reader::start(&pair.watcher, pair.room))
        .collect();
    let mut figure = Figure::new(
        "C9",
        "everybody goes on after an instance was killed",
        RECONNECTED,
    );
    for trial in 0..people.pairs.len() {
        let index = trial % INSTANCES;
        let began = Instant::now();
        cluster.kill_nine(index)?;
        let item = send(&pair.person, pair.room, trial).await?;
        let caught_up = readers.iter().map(|reader| reader.has(item));
        try_join_all(caught_up).await?;
        figure.times.push(began.elapsed());
        cluster.restart(index)?;
    }
    restart_each(people, &readers, cluster).await?;
    Ok(vec![figure])
}

/// A reader that follows a room through all restarts, and the items it has seen.
struct Reader {
    seen: watch::Receiver<HashSet<ItemId>>,
    _task: JoinSet<Result<()>>,
}

impl Reader {
    fn start(client: &Client, room: RoomId) -> Self {
        let (seen_in, seen) = watch::channel(HashSet::new());
        let mut reader = RoomReader::new(client.clone(), room);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Some(events) = reader.next().await? {
                seen_in.send_modify(|seen| seen.extend(events.iter().map(|event| event.item)));
            }
            Ok(())
        });
        Self { seen, _task: task }
    }

    async fn has(&self, item: ItemId) -> Result<()> {
        let mut seen = self.seen.clone();
        let waiting = seen.wait_for(|seen| seen.contains(&item));
        let waited = timeout(PATIENCE, waiting).await;
        waited
            .context("a reader never learned of it")?
            .context("a reader ended")?;
        Ok(())
    }
}

/// C8: each instance is stopped, waited for and started again, under a hundred requests a second and as many commands
/// on each transport with open connections.
async fn restart_each(people: &People, readers: &[Reader], cluster: &mut Cluster) -> Result<()> {
    let room = people.pairs.first().context("there is a trial")?.room;
    let done = CancellationToken::new();
    let log = Arc::new(Log::default());
    let mut load = JoinSet::new();
    for pair in people.pairs.iter().cycle().take(CLIENTS) {
        // Each client writes in a room of which it is a member; the first pair's room is read.
        load.spawn(ask(
            pair.person.clone(),
            pair.room,
            done.clone(),
            Arc::clone(&log),
        ));
    }
    let writers = [Via::SocketIo, Via::GraphQl].map(|via| Writers::start(via, people, &done));
    for index in 0..INSTANCES {
        cluster.terminate(index)?;
        cluster.restart(index)?;
    }
    done.cancel();
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    let Entries {
        asked,
        failed,
        mut written,
    } = log.read();
    println!(
        "C8   {asked} requests while each instance stopped and started again: {} failed",
        failed.len()
    );
    if !failed.is_empty() {
        bail!("requests failed: {:#?}", &failed[..failed.len().min(5)]);
    }
    for writers in writers {
        written.extend(writers.finish().await?);
    }
    let ours: Vec<_> = written.into_iter().filter(|(at, _)| *at == room).collect();
    for reader in readers {
        for (_, item) in &ours {
            reader.has(*item).await?;
        }
    }
    println!(
        "C8   {} writes of the room that is read, 0 missing at {} readers",
        ours.len(),
        readers.len()
    );
    Ok(())
}

/// The outcomes of the requests.
#[derive(Default)]
struct Log(Mutex<Entries>);

#[derive(Clone, Default)]
struct Entries {
    asked: usize,
    failed: Vec<String>,
    written: Vec<(RoomId, ItemId)>,
}

impl Log {
    fn note(&self, outcome: Result<Option<(RoomId, ItemId)>, String>) {
        let mut entries = self.0.lock();
        entries.asked += 1;
        match outcome {
            Ok(written) => entries.written.extend(written),
            Err(failure) => entries.failed.push(failure),
        }
    }

    fn read(&self) -> Entries {
        self.0.lock().clone()
    }
}

/// Reads and writes in turn, without retries.
async fn ask(client: Client, room: RoomId, done: CancellationToken, log: Arc<Log>) -> Result<()> {
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u64;
    while done.run_until_cancelled(ticks.tick()).await.is_some() {
        number += 1;
        let token = client.access_token().await?;
        let request = if number.is_multiple_of(2) {
            let path = format!("/api/v1/rooms/{room}/messages");
            let request = client.endpoint().request(Method::POST, &path);
            request.json(&json!({ "text": format!("request {number}") }))
        } else {
            let path = format!("/api/v1/rooms/{room}");
            client.endpoint().request(Method::GET, &path)
        };
        log.note(outcome(request.bearer_auth(token.expose()), room).await);
    }
    Ok(())
}

async fn outcome(
    request: reqwest::RequestBuilder,
    room: RoomId,
) -> Result<Option<(RoomId, ItemId)>, String> {
    let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
    if !status.is_success() {
        return Err(format!("{status}: {body}"));
    }
    let view: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let item = view["seq"]
        .is_u64()
        .then(|| view["id"].as_str()?.parse().ok());
    Ok(item.flatten().map(|item| (room, item)))
}
