//! Connections that hold back the last byte of a request, written by hand because no client does so.

use anyhow::{Context, Result, ensure};
use roost_schema::RoomId;
use serde_json::json;
use std::{
    fmt,
    iter::Sum,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Add,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The most bytes of one request with an account, and without (`docs/protocol.md`).
const ACCOUNT_BYTES: usize = 1_024 * 1_024;
const GUEST_BYTES: usize = 16 * 1_024;
/// The bytes that connections send. They are shared, because generating them would take time from the measured server.
static FILLING: [u8; ACCOUNT_BYTES] = [b' '; ACCOUNT_BYTES];
/// How soon a refused connection tries again.
const AGAIN: Duration = Duration::from_secs(1);
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    SignIn,
    Rest,
    Graphql,
    GraphqlSocket,
    Polling,
    SocketIo,
}

/// Which request is held back, with or without an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    way: Way,
    has_account: bool,
}

const fn guest(way: Way) -> Kind {
    Kind {
        way,
        has_account: false,
    }
}

const fn account(way: Way) -> Kind {
    Kind {
        way,
        has_account: true,
    }
}

pub(super) const KINDS: [Kind; 10] = [
    guest(Way::SignIn),
    guest(Way::Graphql),
    guest(Way::GraphqlSocket),
    guest(Way::Polling),
    guest(Way::SocketIo),
    account(Way::Rest),
    account(Way::Graphql),
    account(Way::GraphqlSocket),
    account(Way::Polling),
    account(Way::SocketIo),
];

impl Kind {
    const fn bytes(self) -> usize {
        if self.has_account {
            ACCOUNT_BYTES
        } else {
            GUEST_BYTES
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.way {
            Way::SignIn => "sign-ins",
            Way::Rest => "REST bodies",
            Way::Graphql => "GraphQL bodies",
            Way::GraphqlSocket => "GraphQL messages",
            Way::Polling => "Socket.IO polling",
            Way::SocketIo => "Socket.IO messages",
        };
        let by = if self.has_account { "account" } else { "guest" };
        write!(f, "{what} ({by})")
    }
}

pub(super) struct Credentials {
    pub(super) token: String,
    pub(super) room: RoomId,
}

/// The states of connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    standing: usize,
    refused_once: usize,
    refusals: usize,
}

impl Tally {
    /// How many connections have sent their bytes, or were refused.
    pub(super) const fn answered(&self) -> usize {
        self.standing + self.refused_once
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            standing: self.standing + other.standing,
            refused_once: self.refused_once + other.refused_once,
            refusals: self.refusals + other.refusals,
        }
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>4} stand, {:>5} refusals",
            self.standing, self.refusals
        )
    }
}

/// The state of one connection, as it changes.
#[derive(Default)]
pub(super) struct Course {
    stands: AtomicBool,
    refusals: AtomicUsize,
}

impl Course {
    pub(super) fn read(&self) -> Tally {
        let (stands, refusals) = (self.stands.load(Relaxed), self.refusals.load(Relaxed));
        Tally {
            standing: usize::from(stands),
            refused_once: usize::from(!stands && refusals > 0),
            refusals,
        }
    }
}

/// One connection, which tries again whenever it is refused.
pub(super) struct Holder {
    pub(super) kind: Kind,
    pub(super) from: Ipv4Addr,
    pub(super) to: SocketAddr,
    pub(super) credentials: Arc<Credentials>,
    pub(super) course: Arc<Course>,
}

impl Holder {
    pub(super) async fn hold(self, end: &CancellationToken) {
        let forever = async {
            let mut session = None;
            loop {
                // The attempt ends by the server's refusal or by a broken connection; both count as a refusal.
                let _ = self.hold_once(&mut session).await;
                self.course.stands.store(false, Relaxed);
                self.course.refusals.fetch_add(1, Relaxed);
                sleep(AGAIN).await;
            }
        };
        end.run_until_cancelled(Box::pin(forever)).await;
    }

    /// Returns when the server closes. A polling session outlives its connections.
    async fn hold_once(&self, session: &mut Option<String>) -> Result<()> {
        let mut stream = match self.kind.way {
            Way::SignIn => self.begin_post("/api/v1/auth/login").await?,
            Way::Rest => {
                let path = format!("/api/v1/rooms/{}/messages", self.credentials.room);
                self.begin_post(&path).await?
            }
            Way::Graphql => self.begin_post("/graphql").await?,
            Way::Polling => {
                let sid = match session.take() {
                    Some(sid) => sid,
                    None => self.poll().await?,
                };
                let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
                let stream = self.begin_post(&path).await?;
                *session = Some(sid);
                stream
            }
            Way::GraphqlSocket => self.graphql_socket().await?,
            Way::SocketIo => self.socket_io().await?,
        };
        stream.write_all(&FILLING[..self.kind.bytes() - 1]).await?;
        self.course.stands.store(true, Relaxed);
        let mut answer = vec![0; 1_024];
        loop {
            let read = stream.read(&mut answer).await?;
            if read == 0 {
                return Ok(());
            }
            if is_unknown_session(&answer[..read]) {
                *session = None;
            }
        }
    }

    /// Sends the head of a request whose body will stay unfinished.
    async fn begin_post(&self, path: &str) -> Result<TcpStream> {
        let mut stream = self.connect().await?;
        let head = self.head(
            "POST",
            path,
            &format!("content-length: {}\r\n", self.kind.bytes()),
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }

    fn head(&self, method: &str, path: &str, headers: &str) -> String {
        let authorization = if self.kind.has_account {
            format!("authorization: Bearer {}\r\n", self.credentials.token)
        } else {
            String::new()
        };
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{authorization}{headers}\r\n",
            self.to
        )
    }

    /// Opens a polling session.
    async fn poll(&self) -> Result<String> {
        let path = "/socket.io/?EIO=4&transport=polling";
        let mut stream = self.connect().await?;
        let request = self.head("GET", path, "connection: close\r\n");
        stream.write_all(request.as_bytes()).await?;
        let answer = read_until(&mut stream, "pingTimeout").await?;
        let (_, rest) = answer.split_once(r#""sid":""#).context("a session")?;
        let (sid, _) = rest.split_once('"').context("a session")?;
        if self.kind.has_account {
            let connect = format!("40{}", json!({ "token": self.credentials.token }));
            let path = format!("{path}&sid={sid}");
            let mut stream = self.connect().await?;
            let length = format!("connection: close\r\ncontent-length: {}\r\n", connect.len());
            let request = self.head("POST", &path, &length) + &connect;
            stream.write_all(request.as_bytes()).await?;
            read_until(&mut stream, "HTTP/1.1 200").await?;
            // The answer to this poll confirms that the session has signed in.
            let mut stream = self.connect().await?;
            let request = self.head("GET", &path, "connection: close\r\n");
            stream.write_all(request.as_bytes()).await?;
            read_until(&mut stream, "40{").await?;
        }
        Ok(sid.to_owned())
    }

    async fn graphql_socket(&self) -> Result<TcpStream> {
        let protocol = "sec-websocket-protocol: graphql-transport-ws\r\n";
        let mut stream = self.upgrade("/graphql", protocol).await?;
        if self.kind.has_account {
            let token = format!("Bearer {}", self.credentials.token);
            let init = json!({ "type": "connection_init", "payload": { "Authorization": token } });
            stream.write_all(&frame(&init.to_string())).await?;
            read_until(&mut stream, "connection_ack").await?;
        }
        stream.write_all(&frame_head(self.kind.bytes())).await?;
        Ok(stream)
    }

    async fn socket_io(&self) -> Result<TcpStream> {
        let path = "/socket.io/?EIO=4&transport=websocket";
        let mut stream = self.upgrade(path, "").await?;
        if self.kind.has_account {
            let connect = format!("40{}", json!({ "token": self.credentials.token }));
            stream.write_all(&frame(&connect)).await?;
            read_until(&mut stream, "40{").await?;
        }
        stream.write_all(&frame_head(self.kind.bytes())).await?;
        Ok(stream)
    }

    async fn upgrade(&self, path: &str, headers: &str) -> Result<TcpStream> {
        let mut stream = self.connect().await?;
        let upgrade = format!(
            "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}"
        );
        stream
            .write_all(self.head("GET", path, &upgrade).as_bytes())
            .await?;
        read_until(&mut stream, "HTTP/1.1 101").await?;
        Ok(stream)
    }

    async fn connect(&self) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(self.from), 0))?;
        Ok(timeout(ANSWER_PATIENCE, socket.connect(self.to)).await??)
    }
}

/// The session has ended, so the next attempt opens a new one.
fn is_unknown_session(answer: &[u8]) -> bool {
    String::from_utf8_lossy(answer).contains("Session ID unknown")
}

/// Reads until the answer contains `wanted`.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> Result<String> {
    let reading = async {
        let mut all = Vec::new();
        let mut piece = [0; 4_096];
        loop {
            let text = String::from_utf8_lossy(&all);
            if text.contains(wanted) {
                return Ok(text.into_owned());
            }
            ensure!(all.len() < ANSWER_BYTES_MAX, "never {wanted}");
            let read = stream.read(&mut piece).await?;
            ensure!(read > 0, "closed before {wanted}: {text}");
            all.extend(&piece[..read]);
        }
    };
    timeout(ANSWER_PATIENCE, reading).await?
}

/// The header of a client's text frame (RFC 6455 §5.2), masked with zeros.
fn frame_head(bytes: usize) -> Vec<u8> {
    let mut head = vec![0x81, 0xff];
    head.extend((bytes as u64).to_be_bytes());
    head.extend([0; 4]);
    head
}

fn frame(text: &str) -> Vec<u8> {
    let mut frame = frame_head(text.len());
    frame.extend(text.as_bytes());
    frame
}
