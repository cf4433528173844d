//! One connection: its handshake, its packets, its deliveries. One task does all of it.

use super::{
    Hub,
    faults::FaultMaker,
    protocol::{self, Event, Packet},
    rooms::{Outbox, Room},
};
use crate::shapes;
use futures::{FutureExt, SinkExt, StreamExt, future};
use roost_schema::{JoinRoom, MoveCursor, RoomId, SendMessageToRoom, UserId};
use serde_json::json;
use std::{
    collections::{HashMap, VecDeque},
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, interval_at, sleep_until},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config,
    tungstenite::{Error, Message as Frame, protocol::WebSocketConfig},
};
use uuid::Uuid;

/// As small as Roost's and socketioxide's, so that what a socket costs can be compared.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// How many frames go out, and how many come in, before the other gets its turn.
const BATCH_FRAMES: usize = 64;
const REQUEST_BYTES_MAX: usize = 1 << 10;

const READINESS: &[u8] = b"GET /readyz";
const READY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

static SOCKETS: AtomicU64 = AtomicU64::new(0);

/// Serves a connection to its end.
pub(super) async fn serve(mut stream: TcpStream, hub: Arc<Hub>) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut begin = [0; READINESS.len()];
    if stream.peek(&mut begin).await? == begin.len() && begin == READINESS {
        return Ok(answer_readiness(&mut stream).await?);
    }
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let web_socket = accept_async_with_config(stream, Some(config)).await?;
    let (outbox, queue) = Outbox::new(SOCKETS.fetch_add(1, Ordering::Relaxed));
    let overrun = outbox.overrun.clone();
    let connection = Connection {
        web_socket,
        queue,
        session: Session {
            hub,
            sid: Uuid::now_v7().simple().to_string(),
            user: None,
            outbox,
            joined: HashMap::new(),
        },
        faults: FaultMaker::default(),
        delayed: VecDeque::new(),
    };
    let ended = overrun.run_until_cancelled(connection.run()).await;
    ended.unwrap_or(Ok(()))
}

/// A health check asks on the same port, by plain HTTP.
async fn answer_readiness(stream: &mut TcpStream) -> io::Result<()> {
    // What was not read when the connection is closed would reset it.
    let _ = stream.read(&mut [0; REQUEST_BYTES_MAX]).await?;
    stream.write_all(READY).await?;
    stream.shutdown().await
}

struct Connection {
    web_socket: WebSocketStream<TcpStream>,
    queue: mpsc::Receiver<Frame>,
    session: Session,
    faults: FaultMaker,
    /// Deliveries that are sent later, and when.
    delayed: VecDeque<(Instant, Frame)>,
}

impl Connection {
    async fn run(mut self) -> Result<(), Error> {
        self.web_socket
            .send(protocol::open(&self.session.sid))
            .await?;
        let first = Instant::now() + protocol::PING_INTERVAL;
        let mut pings = interval_at(first, protocol::PING_INTERVAL);
        let mut deliveries = Vec::new();
        loop {
            let next_delayed = self.delayed.front().map(|(due, _)| *due);
            tokio::select! {
                received = self.web_socket.next() => {
                    let Some(frame) = received.transpose()? else { return Ok(()) };
                    if self.receive(frame).await?.is_break() {
                        return Ok(());
                    }
                }
                _ = self.queue.recv_many(&mut deliveries, BATCH_FRAMES) => self.deliver(&mut deliveries).await?,
                () = at(next_delayed) => self.send_delayed().await?,
                _ = pings.tick() => self.web_socket.send(Frame::text(protocol::PING)).await?,
            }
        }
    }

    /// Handles a frame and those that came with it, and sends all answers together.
    async fn receive(&mut self, mut frame: Frame) -> Result<ControlFlow<()>, Error> {
        for number in 1.. {
            // To read on after a close frame answers it.
            if let Frame::Text(text) = frame {
                match self.session.handle(text.as_str()) {
                    Handled::Answer(Some(answer)) => self.web_socket.feed(answer).await?,
                    Handled::Answer(None) => {}
                    Handled::End => return Ok(ControlFlow::Break(())),
                }
            }
            if number == BATCH_FRAMES {
                break;
            }
            frame = match self.web_socket.next().now_or_never() {
                Some(Some(next)) => next?,
                Some(None) => return Ok(ControlFlow::Break(())),
                None => break,
            };
        }
        self.web_socket.flush().await?;
        Ok(ControlFlow::Continue(()))
    }

    /// Sends what waits in the outbox, by one write if the socket takes it.
    async fn deliver(&mut self, deliveries: &mut Vec<Frame>) -> Result<(), Error> {
        let hub = &self.session.hub;
        let mut frames = Vec::with_capacity(deliveries.len());
        self.faults
            .pass(deliveries, &hub.faults, &hub.counters, &mut frames);
        if let Some(delay) = hub.faults.delay {
            self.delay(frames, delay);
            return Ok(());
        }
        for frame in frames {
            self.web_socket.feed(frame).await?;
        }
        self.web_socket.flush().await
    }

    fn delay(&mut self, frames: Vec<Frame>, delay: Duration) {
        let due = Instant::now() + delay;
        self.delayed
            .extend(frames.into_iter().map(|frame| (due, frame)));
    }

    async fn send_delayed(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        while let Some((_, frame)) = self.delayed.pop_front_if(|(due, _)| *due <= now) {
            self.web_socket.feed(frame).await?;
        }
        self.web_socket.flush().await
    }
}

/// Waits until then; for ever when there is no then.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => future::pending().await,
    }
}

/// What a connection is to the rooms.
struct Session {
    hub: Arc<Hub>,
    sid: String,
    /// Who connected to the namespace.
    user: Option<UserId>,
    outbox: Outbox,
    joined: HashMap<RoomId, Arc<Room>>,
}

enum Handled {
    Answer(Option<Frame>),
    End,
}

impl Session {
    /// A client that sends what cannot be read is cut off.
    fn handle(&mut self, text: &str) -> Handled {
        let answer = match (protocol::read(text), self.user) {
            (Some(Packet::Connect(auth)), _) => {
                self.user = Some(shapes::user_of(&auth));
                Ok(Some(protocol::connected(&self.sid)))
            }
            (Some(Packet::Event(event)), Some(user)) => self.command(&event, user),
            (Some(Packet::Other), _) => Ok(None),
            (None | Some(Packet::Close | Packet::Event(_)), _) => return Handled::End,
        };
        answer.map_or(Handled::End, Handled::Answer)
    }

    fn command(&mut self, event: &Event, user: UserId) -> serde_json::Result<Option<Frame>> {
        let payload = event.payload.get();
        match event.name {
            "room:join" => {
                let JoinRoom { room, .. } = serde_json::from_str(payload)?;
                self.join(room);
                event.answer(&shapes::joined())
            }
            "cursor:move" => {
                let input: MoveCursor = serde_json::from_str(payload)?;
                if let Some(room) = self.hub.rooms.find(input.room) {
                    let awareness = shapes::awareness(&input, user);
                    let frame = protocol::event("room:awareness", &awareness)?;
                    room.tell_others(&frame, self.outbox.socket, &self.hub.counters);
                }
                event.answer(&json!({ "room": input.room }))
            }
            "message:send" => {
                let SendMessageToRoom { room, text, .. } = serde_json::from_str(payload)?;
                let hub = &self.hub;
                let message = hub.rooms.enter(room).tell_all(&hub.counters, |seq| {
                    let message = shapes::message(room, seq, user, text);
                    let frame = protocol::event("room:events", &shapes::events(&message)?)?;
                    Ok::<_, serde_json::Error>((frame, message))
                })?;
                event.answer(&message)
            }
            _ => Ok(None),
        }
    }

    fn join(&mut self, id: RoomId) {
        let room = self.hub.rooms.enter(id);
        // A socket that joins again is still there once.
        if self.joined.insert(id, Arc::clone(&room)).is_none() {
            room.join(self.outbox.clone());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for room in self.joined.values() {
            room.leave(self.outbox.socket);
        }
    }
}
