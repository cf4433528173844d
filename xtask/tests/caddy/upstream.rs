//! An instance as Caddy sees one: it answers with its name, and breaks when it is told to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Paths with a meaning of their own; anything else is answered with the name.
pub(crate) const BREAK: &str = "/api/v1/break";
/// Takes the whole instance with it.
pub(crate) const DIE: &str = "/api/v1/die";
pub(crate) const STREAM: &str = "/api/v1/stream";

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

pub(crate) struct Upstream {
    shared: Arc<Shared>,
    /// Each word that is sent here goes out on the open event stream.
    pub(crate) words: Sender<&'static str>,
}

struct Shared {
    name: &'static str,
    address: SocketAddr,
    is_ready: AtomicBool,
    is_dead: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    words: Mutex<Receiver<&'static str>>,
}

impl Upstream {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (words, receiver) = channel();
        let shared = Arc::new(Shared {
            name,
            address: listener.local_addr().unwrap(),
            is_ready: AtomicBool::new(true),
            is_dead: AtomicBool::new(false),
            seen: Mutex::default(),
            words: Mutex::new(receiver),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_dead.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A connection that breaks is what some tests are about.
                thread::spawn(move || shared.serve(stream?));
            }
        });
        Self { shared, words }
    }

    pub(crate) fn address(&self) -> String {
        self.shared.address.to_string()
    }

    /// What arrived for this path, health checks left out.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.shared.seen.lock().unwrap();
        let of_path = seen.iter().filter(|seen| seen.line.contains(path));
        of_path.cloned().collect()
    }

    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.shared.is_ready.store(is_ready, Ordering::SeqCst);
    }

    /// Takes no more connections, as a program that was killed.
    pub(crate) fn die(&self) {
        self.shared.die();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.die();
    }
}

impl Shared {
    fn die(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then drops the listener.
        let _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(seen) = read_request(&mut reader)? {
            let path = seen.line.split(' ').nth(1).unwrap().to_owned();
            if path == "/readyz" {
                let status = if self.is_ready.load(Ordering::SeqCst) {
                    200
                } else {
                    503
                };
                answer(&mut stream, status, "")?;
                continue;
            }
            let is_upgrade = seen.headers.contains_key("upgrade");
            self.seen.lock().unwrap().push(seen);
            match path.as_str() {
                BREAK => return Ok(()),
                DIE => {
                    self.die();
                    return Ok(());
                }
                STREAM => return self.stream_events(&mut stream),
                _ if is_upgrade => {
                    stream.write_all(
                        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                    )?;
                    return echo(&mut stream, &mut reader);
                }
                _ => answer(&mut stream, 200, self.name)?,
            }
        }
        Ok(())
    }

    fn stream_events(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        for word in self.words.lock().unwrap().iter() {
            let event = format!("data: {word}\n\n");
            write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
        }
        Ok(())
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Seen {
        line: line.trim().to_owned(),
        headers,
        body: String::from_utf8(body).unwrap(),
    }))
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Whatever\r\ncontent-type: text/plain\r\nserver: secret/1.0\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// What comes after an upgrade goes back as it is.
fn echo(stream: &mut TcpStream, reader: &mut impl Read) -> std::io::Result<()> {
    std::io::copy(reader, stream)?;
    Ok(())
}
