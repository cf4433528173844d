//! One socket: Socket.IO over WebSocket, from an address of its own, with as little as possible between the wire and the
//! measured time.

mod reader;

pub use reader::{Call, Mark, Reader, Stream};

use crate::{
    clock::{self, Micros},
    people::{self, Person},
    recorder::{Recorder, Timing},
};
use anyhow::{Context, Result, bail};
use futures::{SinkExt, StreamExt, future::try_join_all};
use roost_client::packet::{self, PONG, Packet};
use roost_schema::RoomId;
use serde::Serialize;
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message as Frame, protocol::WebSocketConfig},
};

/// Kept by each socket for what it reads; 18,000 of the library's default would take 2.3 GB.
const READ_BUFFER: usize = 4 << 10;
const OPEN_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a socket asks for rooms that are refused for now.
const JOINING_ROUNDS: usize = 20;

type Connection = WebSocketStream<TcpStream>;

/// Where sockets connect to: one server, or several, to which they go in turns.
#[derive(Clone, Debug)]
pub struct Target {
    servers: Vec<Server>,
}

#[derive(Clone, Debug)]
struct Server {
    address: SocketAddr,
    url: String,
}

impl Target {
    /// `urls`: `http://host:port` each.
    pub async fn find(urls: &[String]) -> Result<Self> {
        Ok(Self {
            servers: try_join_all(urls.iter().map(|url| Server::find(url))).await?,
        })
    }

    /// Each row of sockets as long as there are servers has one on each, and begins with another: the first of every room,
    /// who writes there, would otherwise be on the same one.
    fn server_of(&self, number: usize) -> &Server {
        let count = self.servers.len();
        &self.servers[(number + number / count) % count]
    }
}

impl Server {
    async fn find(url: &str) -> Result<Self> {
        let authority = url
            .strip_prefix("http://")
            .context("a server's address begins with http://")?
            .trim_end_matches('/');
        let mut found = tokio::net::lookup_host(authority).await?;
        Ok(Self {
            address: found.next().context("the host has no address")?,
            url: format!("ws://{authority}/socket.io/?EIO=4&transport=websocket"),
        })
    }
}

/// What a socket is told to do.
#[derive(Debug)]
pub enum Command {
    /// Sends a frame that was due at a moment and that nobody answers.
    Emit(Micros, String),
    /// Sends a frame whose acknowledgement has this id.
    Call(u64, Call, String),
    /// Reads nothing from now on, as a phone in a tunnel.
    Stall,
    /// Ends the connection by a TCP reset.
    Cut,
}

/// A connected socket in its rooms. Dropping it ends the connection.
#[derive(Debug)]
pub struct Socket {
    commands: mpsc::UnboundedSender<Command>,
    /// One, which reads and writes.
    task: JoinSet<Reader>,
}

impl Socket {
    /// Connects, signs in and joins the rooms. `due`: when it was to be done. `reader`: a new one, or that of a socket
    /// that was cut, whose positions are resumed.
    pub async fn open(
        target: &Target,
        number: usize,
        person: &Person,
        rooms: &[RoomId],
        mut reader: Reader,
        due: Micros,
    ) -> Result<Self> {
        let recorder = Arc::clone(reader.recorder());
        let open = async {
            let mut stream = connect(target, number).await?;
            sign_in(&mut stream, person, &recorder).await?;
            join(&mut stream, rooms, &mut reader).await?;
            anyhow::Ok(stream)
        };
        let opened = timeout(OPEN_TIMEOUT, open).await;
        let stream = match opened.context("not connected in time").flatten() {
            Ok(stream) => stream,
            Err(error) => {
                recorder.fail(due, "not connected");
                return Err(error);
            }
        };
        recorder.record(Timing::Connect, due);
        let (commands, queue) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(serve(stream, queue, reader, person.clone()));
        Ok(Self { commands, task })
    }

    pub fn send(&self, command: Command) {
        // An error: the connection has ended, which its reader tells.
        let _ = self.commands.send(command);
    }

    /// Another end of the socket's commands, for the thread that keeps the times.
    pub fn commands(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.clone()
    }

    /// Closes the socket; gives what it read.
    pub async fn finish(mut self) -> Result<Reader> {
        drop(self.commands);
        let read = self
            .task
            .join_next()
            .await
            .context("the socket has no task")?;
        Ok(read?)
    }

    /// Cuts the socket; gives what it read.
    pub async fn cut(self) -> Result<Reader> {
        self.send(Command::Cut);
        self.finish().await
    }
}

/// A frame of an event; with an id, it is acknowledged.
pub fn event(id: Option<u64>, name: &str, payload: &impl Serialize) -> String {
    packet::event(id, name, payload).expect("a payload of ours has string keys only")
}

async fn connect(target: &Target, number: usize) -> Result<Connection> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((people::address(number), 0).into())?;
    let server = target.server_of(number);
    let stream = socket.connect(server.address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0);
    let (stream, _) = client_async_with_config(&server.url, stream, Some(config)).await?;
    Ok(stream)
}

async fn sign_in(stream: &mut Connection, person: &Person, recorder: &Recorder) -> Result<()> {
    let auth = match &person.client {
        Some(client) => json!({ "token": client.access_token().await?.expose() }),
        None => json!({ "userId": person.id }),
    };
    stream.send(Frame::text(packet::connect(&auth)?)).await?;
    loop {
        let frame = next(stream).await?;
        recorder.count_frame(frame.len());
        match Packet::read(&frame) {
            Some(Packet::Open(_)) => {}
            Some(Packet::Ping) => stream.send(Frame::text(PONG)).await?,
            Some(Packet::Connected(_)) => return Ok(()),
            _ => bail!("refused: {frame}"),
        }
    }
}

/// All at once; a room is resumed where the reader was. What is refused for now is asked for again when the server says.
async fn join(stream: &mut Connection, rooms: &[RoomId], reader: &mut Reader) -> Result<()> {
    let mut missing = rooms.to_vec();
    for _ in 0..JOINING_ROUNDS {
        let refused = join_once(stream, &missing, reader).await?;
        let Some(wait) = refused.iter().map(|(_, wait)| *wait).max() else {
            return Ok(());
        };
        sleep(wait).await;
        missing = refused.into_iter().map(|(room, _)| room).collect();
    }
    bail!("{} rooms are refused again and again", missing.len())
}

/// Gives the rooms that are refused for now, each with how long to wait.
async fn join_once(
    stream: &mut Connection,
    rooms: &[RoomId],
    reader: &mut Reader,
) -> Result<Vec<(RoomId, Duration)>> {
    for (id, room) in (0..).zip(rooms) {
        let join = match reader.position(*room) {
            Some(after) => json!({ "room": room, "after": after }),
            None => json!({ "room": room }),
        };
        stream
            .feed(Frame::text(event(Some(id), "room:join", &join)))
            .await?;
    }
    stream.flush().await?;
    let mut answered = 0;
    let mut refused = Vec::new();
    while answered < rooms.len() {
        let frame = next(stream).await?;
        match Packet::read(&frame) {
            Some(Packet::Ack { id, payload }) => {
                reader.recorder().count_frame(frame.len());
                answered += 1;
                if payload.starts_with(r#"{"error""#) {
                    reader.recorder().fail(clock::now(), "a room is refused");
                    let wait = retry_after(payload)
                        .with_context(|| format!("a room is refused: {payload}"))?;
                    let place = usize::try_from(id)?;
                    refused.push((*rooms.get(place).context("an unknown id")?, wait));
                }
            }
            Some(Packet::Ping) => stream.send(Frame::text(PONG)).await?,
            _ => drop(reader.receive(&frame)),
        }
    }
    Ok(refused)
}

/// None: asking again would not help.
fn retry_after(refusal: &str) -> Option<Duration> {
    let refusal: serde_json::Value = serde_json::from_str(refusal).ok()?;
    let millis = refusal["error"]["retryAfterMs"].as_u64()?;
    Some(Duration::from_millis(millis))
}

async fn next(stream: &mut Connection) -> Result<String> {
    loop {
        match stream.next().await {
            Some(Ok(Frame::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Frame::Close(_))) | None => bail!("the server closed the socket"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

async fn serve(
    mut stream: Connection,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut reader: Reader,
    person: Person,
) -> Reader {
    let mut reads = true;
    loop {
        let sent = tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Emit(due, frame)) => {
                    reader.recorder().note_start(due);
                    stream.send(Frame::text(frame)).await
                }
                Some(Command::Call(id, call, frame)) => {
                    reader.recorder().note_start(call.mark.due);
                    reader.expect(id, call);
                    stream.send(Frame::text(frame)).await
                }
                Some(Command::Stall) => {
                    reads = false;
                    // What the system takes in its stead is little: the server is to notice.
                    let _ = socket2::SockRef::from(stream.get_ref()).set_recv_buffer_size(READ_BUFFER);
                    Ok(())
                }
                Some(Command::Cut) => {
                    // Closing a socket that does not linger sends a reset.
                    let _ = socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
                    return reader;
                }
                None => {
                    // A server that is gone already needs no farewell.
                    let _ = stream.close(None).await;
                    return reader;
                }
            },
            frame = stream.next(), if reads => match frame {
                Some(Ok(Frame::Text(text))) => match reader.receive(&text) {
                    reader::Received::Ping => stream.send(Frame::text(PONG)).await,
                    reader::Received::Noted => Ok(()),
                    reader::Received::Expiring => refresh(&mut stream, &person).await,
                    reader::Received::End => break,
                },
                Some(Ok(Frame::Close(_))) | None => break,
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(error),
            },
        };
        if sent.is_err() {
            break;
        }
    }
    reader.closed_by_the_server = true;
    reader
}

/// Keeps the socket open under a new token. What comes of it is told by whether the socket stays.
async fn refresh(
    stream: &mut Connection,
    person: &Person,
) -> tokio_tungstenite::tungstenite::Result<()> {
    let Some(client) = &person.client else {
        return Ok(());
    };
    let Ok(token) = client.refresh().await else {
        return Ok(());
    };
    let renewal = json!({ "token": token.expose() });
    stream
        .send(Frame::text(event(None, "auth:refresh", &renewal)))
        .await
}
