//! A Socket.IO client on the bare protocol: WebSocket, long-polling, or polling moved to a WebSocket. It can stop
//! reading and still answer pings, which no proper client does.

use super::fixture::DEADLINE;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{mpsc, watch},
    task::AbortHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::task::TaskTracker;

/// A small buffer, so that the server soon notices a client that does not read.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1_024;
const PONG_EVERY: Duration = Duration::from_secs(4);

/// Enough round trips for the server to have several frames ready.
const ROUND_TRIPS: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    WebSocket,
    Polling,
    /// Polling first, as stock clients begin.
    Upgrade,
}

#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Event(String, Value),
    Ack(u64, Value),
    Connected(Value),
    Refused(Value),
    /// The server sent a final disconnect.
    Disconnected,
    /// The transport ended.
    Closed,
}

pub(super) struct Socket {
    pub(super) sid: String,
    heard: mpsc::UnboundedReceiver<Heard>,
    kept: Vec<Heard>,
    say: mpsc::UnboundedSender<String>,
    reads: watch::Sender<bool>,
    acks: u64,
    task: AbortHandle,
}

impl Socket {
    pub(super) async fn connect(address: SocketAddr, mode: Mode, token: &str) -> Self {
        let mut socket = Self::open(address, mode, Some(&json!({ "token": token }))).await;
        match socket.next().await {
            Heard::Connected(_) => socket,
            other => panic!("not connected: {other:?}"),
        }
    }

    /// Opens an engine session, and connects to the namespace with `auth` unless it is `None`.
    pub(super) async fn open(address: SocketAddr, mode: Mode, auth: Option<&Value>) -> Self {
        let first: Vec<String> = auth.map(|auth| format!("40{auth}")).into_iter().collect();
        Self::open_saying(address, mode, &first).await
    }

    /// Opens an engine session and sends these packets.
    pub(super) async fn open_saying(address: SocketAddr, mode: Mode, first: &[String]) -> Self {
        let (hear, heard) = mpsc::unbounded_channel();
        let (say, to_say) = mpsc::unbounded_channel();
        let (reads, is_reading) = watch::channel(true);
        for packet in first {
            say.send(packet.clone()).unwrap();
        }
        let line = Line {
            address,
            hear,
            to_say,
            is_reading,
        };
        let (sid, task) = match mode {
            Mode::WebSocket => {
                let mut stream = websocket(address, "").await;
                let sid = sid_of(&next_text(&mut stream).await.expect("an open packet"));
                (sid, TaskTracker::new().spawn(line.over_websocket(stream)))
            }
            Mode::Polling => {
                let sid = polling_handshake(address).await;
                (
                    sid.clone(),
                    TaskTracker::new().spawn(line.over_polling(sid)),
                )
            }
            Mode::Upgrade => {
                let sid = polling_handshake(address).await;
                (sid.clone(), TaskTracker::new().spawn(line.over_both(sid)))
            }
        };
        Self {
            sid,
            heard,
            kept: Vec::new(),
            say,
            reads,
            acks: 0,
            task: task.abort_handle(),
        }
    }

    /// Sends an Engine.IO packet unchanged.
    pub(super) fn say(&self, packet: impl Into<String>) {
        // A closed transport shows when the test reads.
        let _ = self.say.send(packet.into());
    }

    /// Emits an event; answers the number of its acknowledgement.
    pub(super) fn emit(&mut self, event: &str, body: &Value) -> u64 {
        self.acks += 1;
        self.say(format!("42{}{}", self.acks, json!([event, body])));
        self.acks
    }

    pub(super) async fn call(&mut self, event: &str, body: &Value) -> Value {
        let number = self.emit(event, body);
        self.ack(number).await
    }

    /// Emits an event and answers its reply; `None` when the transport ended instead.
    pub(super) async fn call_or_end(&mut self, event: &str, body: &Value) -> Option<Value> {
        let number = self.emit(event, body);
        let is_it = |heard: &Heard| {
            matches!(heard, Heard::Ack(of, _) if *of == number) || *heard == Heard::Closed
        };
        match self.find(is_it).await {
            Heard::Ack(_, answer) => Some(answer),
            _ => None,
        }
    }

    pub(super) async fn ack(&mut self, number: u64) -> Value {
        let is_it = |heard: &Heard| matches!(heard, Heard::Ack(of, _) if *of == number);
        match self.find(is_it).await {
            Heard::Ack(_, answer) => answer,
            other => panic!("no acknowledgement {number}: {other:?}"),
        }
    }

    /// The next event of this name; others are kept for later.
    pub(super) async fn event(&mut self, name: &str) -> Value {
        let is_it = |heard: &Heard| matches!(heard, Heard::Event(of, _) if of == name);
        match self.find(is_it).await {
            Heard::Event(_, body) => body,
            other => panic!("no {name}: {other:?}"),
        }
    }

    /// The texts of the next `count` messages of `room:events`, which must have no gap.
    pub(super) async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        let mut last = None;
        while texts.len() < count {
            let frame = self.event("room:events").await;
            for event in frame["events"].as_array().unwrap() {
                let seq = event["seq"].as_u64().unwrap();
                assert!(last.is_none_or(|last| seq == last + 1), "a gap at {seq}");
                last = Some(seq);
                if event["kind"] == "message" {
                    texts.push(event["body"]["text"].as_str().unwrap().to_owned());
                }
            }
        }
        texts
    }

    /// Waits for the next packet.
    pub(super) async fn next(&mut self) -> Heard {
        if !self.kept.is_empty() {
            return self.kept.remove(0);
        }
        self.listen().await
    }

    /// Waits for the end; other packets are skipped.
    pub(super) async fn end(&mut self, within: Duration) -> Heard {
        let end = async {
            loop {
                let heard = self.heard.recv().await.unwrap_or(Heard::Closed);
                if matches!(heard, Heard::Closed | Heard::Disconnected) {
                    return heard;
                }
            }
        };
        timeout(within, end).await.expect("the socket ends in time")
    }

    /// Stops or starts reading. A polling session still answers pings.
    pub(super) fn read(&self, reads: bool) {
        self.reads.send(reads).unwrap();
    }

    async fn find(&mut self, is_it: impl Fn(&Heard) -> bool) -> Heard {
        if let Some(at) = self.kept.iter().position(&is_it) {
            return self.kept.remove(at);
        }
        loop {
            let heard = self.listen().await;
            if is_it(&heard) || heard == Heard::Closed {
                return heard;
            }
            self.kept.push(heard);
        }
    }

    async fn listen(&mut self) -> Heard {
        let heard = timeout(DEADLINE, self.heard.recv()).await;
        heard
            .expect("something is heard in time")
            .unwrap_or(Heard::Closed)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The transport's side of a socket.
struct Line {
    address: SocketAddr,
    hear: mpsc::UnboundedSender<Heard>,
    to_say: mpsc::UnboundedReceiver<String>,
    is_reading: watch::Receiver<bool>,
}

impl Line {
    async fn over_websocket(mut self, mut stream: WebSocketStream<TcpStream>) {
        loop {
            let reads = *self.is_reading.borrow_and_update();
            tokio::select! {
                text = next_text(&mut stream), if reads => match text {
                    Some(text) if text == "2" => stream.send(Message::text("3")).await.unwrap_or(()),
                    Some(text) => self.receive(&text),
                    None => break,
                },
                packet = self.to_say.recv() => match packet {
                    Some(packet) => stream.send(Message::text(packet)).await.unwrap_or(()),
                    None => break,
                },
                _ = self.is_reading.changed() => {}
            }
        }
        let _ = self.hear.send(Heard::Closed);
    }

    async fn over_polling(mut self, sid: String) {
        let http = reqwest::Client::new();
        let url = polling_url(self.address, &sid);
        let mut pong = tokio::time::interval(PONG_EVERY);
        let mut poll = Box::pin(get(http.clone(), url.clone()));
        loop {
            let reads = *self.is_reading.borrow_and_update();
            tokio::select! {
                payload = &mut poll, if reads => match payload {
                    Some(payload) => {
                        for packet in payload.split('\x1e') {
                            self.receive(packet);
                        }
                        poll = Box::pin(get(http.clone(), url.clone()));
                    }
                    None => break,
                },
                packet = self.to_say.recv() => match packet {
                    Some(packet) => if !post(&http, &url, packet).await { break },
                    None => break,
                },
                // Pongs are sent even while the client does not read: the worst case.
                _ = pong.tick() => if !post(&http, &url, "3".to_owned()).await { break },
                _ = self.is_reading.changed() => {}
            }
        }
        let _ = self.hear.send(Heard::Closed);
    }

    /// Connects on polling, then moves to a WebSocket (Engine.IO protocol, "Upgrade").
    async fn over_both(mut self, sid: String) {
        let http = reqwest::Client::new();
        let url = polling_url(self.address, &sid);
        let connect = self.to_say.recv().await.expect("the connect packet");
        assert!(post(&http, &url, connect).await);
        // The first answer may be a ping, and the client must not send before the server has answered.
        let mut is_connected = false;
        while !is_connected {
            let payload = get(http.clone(), url.clone()).await.expect("an answer");
            for packet in payload.split('\x1e') {
                is_connected |= packet.starts_with("40") || packet.starts_with("44");
                if packet == "2" {
                    assert!(post(&http, &url, "3".to_owned()).await);
                }
                self.receive(packet);
            }
        }
        // The reply to the next packet comes while the session moves, partly by a poll before the move.
        if let Ok(packet) = self.to_say.try_recv() {
            assert!(post(&http, &url, packet).await);
            for _ in 0..ROUND_TRIPS {
                assert!(post(&http, &url, "3".to_owned()).await);
            }
            let payload = get(http.clone(), url.clone()).await.expect("an answer");
            for packet in payload.split('\x1e') {
                self.receive(packet);
            }
        }
        let mut stream = websocket(self.address, &format!("&sid={sid}")).await;
        stream.send(Message::text("2probe")).await.unwrap();
        // The last poll must be finished, because the packets in its answer come only once.
        let poll = get(http, url);
        let (payload, probed) = tokio::join!(poll, next_text(&mut stream));
        assert_eq!(probed.as_deref(), Some("3probe"));
        let payload = payload.expect("an answer");
        stream.send(Message::text("5")).await.unwrap();
        for packet in payload.split('\x1e') {
            if packet == "2" {
                stream.send(Message::text("3")).await.unwrap();
            }
            self.receive(packet);
        }
        self.over_websocket(stream).await;
    }

    fn receive(&self, packet: &str) {
        let heard = match packet.as_bytes() {
            [b'4', b'0', rest @ ..] => Heard::Connected(parse(rest)),
            [b'4', b'1', ..] => Heard::Disconnected,
            [b'4', b'2', rest @ ..] => {
                let mut parts = parse(rest);
                let name = parts[0].as_str().unwrap().to_owned();
                Heard::Event(name, parts[1].take())
            }
            [b'4', b'3', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = str::from_utf8(&rest[..digits]).unwrap().parse().unwrap();
                Heard::Ack(number, parse(&rest[digits..])[0].take())
            }
            [b'4', b'4', rest @ ..] => Heard::Refused(parse(rest)),
            // Polling pings are answered by the interval above; noops carry nothing.
            _ => return,
        };
        // The test may have ended.
        let _ = self.hear.send(heard);
    }
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

/// A WebSocket with a small receive buffer; `query` is appended after the transport.
pub(super) async fn websocket(address: SocketAddr, query: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
    let request = url.into_client_request().unwrap();
    let (stream, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    stream
}

async fn next_text(stream: &mut WebSocketStream<TcpStream>) -> Option<String> {
    loop {
        match stream.next().await? {
            Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

pub(super) async fn polling_handshake(address: SocketAddr) -> String {
    let url = format!("http://{address}/socket.io/?EIO=4&transport=polling");
    sid_of(&get(reqwest::Client::new(), url).await.expect("a session"))
}

pub(super) fn polling_url(address: SocketAddr, sid: &str) -> String {
    format!("http://{address}/socket.io/?EIO=4&transport=polling&sid={sid}")
}

fn sid_of(open: &str) -> String {
    let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
    open["sid"].as_str().unwrap().to_owned()
}

async fn get(http: reqwest::Client, url: String) -> Option<String> {
    let response = http.get(url).send().await.ok()?;
    if response.status() != 200 {
        return None;
    }
    response.text().await.ok()
}

pub(super) async fn post(http: &reqwest::Client, url: &str, body: String) -> bool {
    let sent = http.post(url).body(body).send().await;
    sent.is_ok_and(|response| response.status() == 200)
}
