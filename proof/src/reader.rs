//! Readers: people who follow rooms by Socket.IO, GraphQL subscription or SSE, each in its own manner, and record what
//! they receive.

mod frames;

use super::{journal::canonical, ledger::Ledger};
use anyhow::{Context, Result, bail};
use frames::Subscribed;
use futures::StreamExt;
use parking_lot::{Mutex, MutexGuard};
use roost_client::{Client, Error, Socket};
use roost_schema::{ErrorCode, ItemId, Op, Position, RoomEvents, RoomId, Seq};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// The interval at which a reconnecting reader cuts its connection.
const CUT_EVERY: Duration = Duration::from_secs(2);
/// How long a slow reader waits after each frame while others write. It does not wait any more after that, because the
/// many frames that are still in the buffers on their way would take it minutes.
const SLOWNESS: Duration = Duration::from_millis(150);
/// A late reader starts after this share of the writes.
const LATE_SHARE: u64 = 3;
const RETRY_WAIT: Duration = Duration::from_millis(150);
const STREAM_MAX: Duration = Duration::from_hours(1);

#[derive(Clone, Copy, Debug)]
enum Via {
    SocketIo,
    GraphQl,
    Sse,
}

const VIAS: [Via; 3] = [Via::SocketIo, Via::GraphQl, Via::Sse];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Steady,
    Late,
    Reconnecting,
    Slow,
}

/// What one reader has received of one room.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) reader: String,
    pub(super) room: Option<RoomId>,
    pub(super) position: Option<Position>,
    pub(super) items: HashMap<ItemId, (Seq, Op, String)>,
    pub(super) seen: BTreeSet<u64>,
    pub(super) delivered: u64,
    pub(super) duplicates: u64,
    pub(super) inversions: u64,
    /// The seqs that live frames left out, each with the seq at which its frame ended.
    pub(super) passed: Vec<(u64, u64)>,
    pub(super) resets: u64,
}

impl Reading {
    /// Applies a frame, and checks it against what a frame promises.
    fn apply(&mut self, frame: &RoomEvents) {
        let mut last = self.position.map_or(0, |position| position.seq.0);
        if frame.reset {
            self.resets += 1;
            self.items.clear();
            last = 0;
        }
        for event in &frame.events {
            self.delivered += 1;
            self.duplicates += u64::from(!self.seen.insert(event.seq.0));
            self.inversions += u64::from(event.seq.0 <= last);
            if frame.live {
                self.pass(last + 1..event.seq.0, frame.position.seq);
            }
            last = event.seq.0;
            let known = self
                .items
                .get(&event.item)
                .map_or(Seq::ZERO, |(seq, ..)| *seq);
            if event.seq > known {
                let body: Value = serde_json::from_str(event.body.as_str()).unwrap_or_default();
                self.items
                    .insert(event.item, (event.seq, event.op.clone(), canonical(&body)));
            }
        }
        if frame.live {
            self.pass(last + 1..frame.position.seq.0 + 1, frame.position.seq);
        }
        self.position = Some(frame.position);
    }

    /// Notes left-out seqs. The journal shows at the end whether they are gaps.
    fn pass(&mut self, seqs: Range<u64>, end: Seq) {
        self.passed.extend(seqs.map(|seq| (seq, end.0)));
    }
}

type Readings = Arc<Mutex<HashMap<RoomId, Reading>>>;

struct Reader {
    name: String,
    via: Via,
    manner: Manner,
    client: Client,
    readings: Readings,
    subscribed: Arc<Subscribed>,
    all_written: Arc<AtomicBool>,
}

/// The running readers.
pub(super) struct Readers {
    tasks: JoinSet<Result<()>>,
    readings: Vec<Readings>,
    subscribed: Arc<Subscribed>,
    all_written: Arc<AtomicBool>,
}

/// Starts the readers. Two of three follow the hot room; the others follow five quiet rooms each, so that every room is
/// read.
pub(super) fn start(people: &[Client], rooms: &[RoomId], ledger: &Arc<Ledger>) -> Readers {
    let mut readers = Readers {
        tasks: JoinSet::new(),
        readings: Vec::new(),
        subscribed: Arc::default(),
        all_written: Arc::default(),
    };
    let (hot, quiet) = (&rooms[..1], &rooms[1..]);
    let mut shares = quiet.chunks(quiet.len().div_ceil(people.len() / 3));
    let manners = [
        Manner::Steady,
        Manner::Late,
        Manner::Reconnecting,
        Manner::Slow,
    ];
    for (number, client) in people.iter().enumerate() {
        let own = match number % 3 {
            2 => shares.next().unwrap_or(hot),
            _ => hot,
        };
        let reader = Reader {
            name: format!("reader {number}"),
            via: VIAS[(number + number / 3) % 3],
            manner: manners[number % 4],
            client: client.clone(),
            readings: Arc::default(),
            subscribed: Arc::clone(&readers.subscribed),
            all_written: Arc::clone(&readers.all_written),
        };
        readers.follow(reader, own, ledger);
    }
    readers
}

impl Readers {
    /// Starts one more reader, who follows all these rooms, so that they are active on its instance.
    pub(super) fn follow_all(
        &mut self,
        number: usize,
        client: &Client,
        rooms: &[RoomId],
        ledger: &Arc<Ledger>,
    ) {
        let reader = Reader {
            name: format!("reader of all {number}"),
            via: VIAS[number % 3],
            manner: [Manner::Steady, Manner::Reconnecting][number / 3 % 2],
            client: client.clone(),
            readings: Arc::default(),
            subscribed: Arc::clone(&self.subscribed),
            all_written: Arc::clone(&self.all_written),
        };
        self.follow(reader, rooms, ledger);
    }

    /// Waits until the newest `count` readers have received something of each of their rooms.
    pub(super) async fn wait_until_following(&self, count: usize) {
        let is_following = |readings: &Readings| {
            let readings = readings.lock();
            readings.values().all(|reading| reading.position.is_some())
        };
        while !self.readings.iter().rev().take(count).all(is_following) {
            sleep(RETRY_WAIT).await;
        }
    }

    fn follow(&mut self, reader: Reader, rooms: &[RoomId], ledger: &Arc<Ledger>) {
        for room in rooms {
            let reading = Reading {
                reader: format!("{} ({:?}, {:?})", reader.name, reader.via, reader.manner),
                room: Some(*room),
                ..Reading::default()
            };
            reader.readings().insert(*room, reading);
        }
        self.readings.push(Arc::clone(&reader.readings));
        self.tasks.spawn(reader.run(Arc::clone(ledger)));
    }

    /// Waits until every reader has every room up to its head.
    pub(super) async fn finish(
        mut self,
        heads: &HashMap<RoomId, Seq>,
        patience: Duration,
    ) -> Result<Vec<Reading>> {
        self.all_written.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + patience;
        loop {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
                bail!("a reader ended by itself");
            }
            let behind = self.behind(heads);
            if behind.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                bail!("readers that never caught up: {behind:#?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.tasks.abort_all();
        println!("{}", self.subscribed.line());
        let all = self.readings.iter().flat_map(|readings| {
            let readings = readings.lock();
            readings.values().cloned().collect::<Vec<_>>()
        });
        Ok(all.collect())
    }

    fn behind(&self, heads: &HashMap<RoomId, Seq>) -> Vec<String> {
        let mut behind = Vec::new();
        for readings in &self.readings {
            let readings = readings.lock();
            for (room, reading) in readings.iter() {
                let at = reading.position.map_or(Seq::ZERO, |position| position.seq);
                if at < heads[room] {
                    behind.push(format!("{} at {at} of {}", reading.reader, heads[room]));
                }
            }
        }
        behind
    }
}

impl Reader {
    fn readings(&self) -> MutexGuard<'_, HashMap<RoomId, Reading>> {
        self.readings.lock()
    }

    async fn run(self, ledger: Arc<Ledger>) -> Result<()> {
        if self.manner == Manner::Late {
            while !ledger.has_sent_share(LATE_SHARE) {
                sleep(Duration::from_millis(50)).await;
            }
        }
        let reader = Arc::new(self);
        loop {
            let deadline = match reader.manner {
                Manner::Reconnecting => Instant::now() + CUT_EVERY,
                _ => Instant::now() + STREAM_MAX,
            };
            let followed = match reader.via {
                Via::SocketIo => reader.follow_by_socket(deadline).await,
                Via::GraphQl | Via::Sse => reader.follow_each(deadline).await,
            };
            match followed {
                Err(error) if !is_curable(&error) => {
                    return Err(error).with_context(|| reader.name.clone());
                }
                _ => sleep(RETRY_WAIT).await,
            }
        }
    }

    /// The position to resume a room from: at first its beginning, which is seq 0 of the present epoch.
    async fn position(&self, room: RoomId) -> Result<Position, Error> {
        let known = self
            .readings()
            .get(&room)
            .and_then(|reading| reading.position);
        if let Some(position) = known {
            return Ok(position);
        }
        let now = self.client.list_events(room, None).await?.position;
        Ok(Position {
            seq: Seq::ZERO,
            ..now
        })
    }

    async fn take(&self, frame: &RoomEvents) {
        if let Some(reading) = self.readings().get_mut(&frame.room) {
            reading.apply(frame);
        }
        if self.manner == Manner::Slow && !self.all_written.load(Ordering::Relaxed) {
            sleep(SLOWNESS).await;
        }
    }

    async fn follow_by_socket(&self, deadline: Instant) -> Result<(), Error> {
        let mut socket = Socket::connect(&self.client).await?;
        let rooms: Vec<_> = self.readings().keys().copied().collect();
        for room in rooms {
            let position = self.position(room).await?;
            socket.join(room, Some(position)).await?;
        }
        while let Ok(Some(event)) = timeout_at(deadline, socket.next_event()).await {
            if event.name == "room:events" {
                self.take(&event.read()?).await;
            }
        }
        Ok(())
    }

    /// Follows each room by its own stream; when one stream ends, all end.
    async fn follow_each(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        let rooms: Vec<_> = self.readings().keys().copied().collect();
        let mut streams = JoinSet::new();
        for room in rooms {
            let reader = Arc::clone(self);
            streams.spawn(async move {
                match reader.via {
                    Via::GraphQl => reader.follow_by_graphql(room, deadline).await,
                    _ => reader.follow_by_sse(room, deadline).await,
                }
            });
        }
        match streams.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Ok(()),
        }
    }

    async fn follow_by_graphql(&self, room: RoomId, deadline: Instant) -> Result<(), Error> {
        let position = self.position(room).await?;
        let query = "subscription($room: RoomId!, $after: Position) {
            roomEvents(room: $room, after: $after) {
                room position live reset events { seq item kind op body actor at } } }";
        let variables = json!({ "room": room, "after": position });
        let mut subscription = self.client.subscribe(query, variables).await?;
        while let Ok(next) = timeout_at(deadline, subscription.next::<Value>()).await {
            let Some(mut data) = next? else { break };
            let frame = self.subscribed.read(data["roomEvents"].take())?;
            self.take(&frame).await;
        }
        Ok(())
    }

    async fn follow_by_sse(&self, room: RoomId, deadline: Instant) -> Result<(), Error> {
        let position = self.position(room).await?;
        let token = self.client.access_token().await?;
        let path = format!("/api/v1/rooms/{room}/stream");
        let response = self
            .client
            .endpoint()
            .request(reqwest::Method::GET, &path)
            .bearer_auth(token.expose())
            .header("accept", "text/event-stream")
            .header("last-event-id", position.to_string())
            .timeout(STREAM_MAX)
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(Error::Disconnected(format!(
                "SSE answered {}",
                response.status()
            )));
        }
        let mut bytes = response.bytes_stream();
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = timeout_at(deadline, bytes.next()).await {
            text.extend_from_slice(&chunk?);
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                if let Some(frame) = frames::of_server_sent(&String::from_utf8_lossy(&event)) {
                    self.take(&frame?).await;
                }
            }
        }
        Ok(())
    }
}

/// Whether a reader connects again: after a server was killed or is starting, and after the server closed because the
/// access token has expired. A reader that cannot come back never catches up, which `finish` reports.
fn is_curable(error: &Error) -> bool {
    error.is_retryable() || error.code() == Some(ErrorCode::Unauthenticated)
}
