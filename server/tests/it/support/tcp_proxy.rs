//! A TCP proxy in front of a server, which can cut, slow down, freeze or refuse all connections.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// All bytes are delayed by this in each direction.
    Slow(Duration),
    /// Connections stay, and nothing passes.
    Frozen,
    /// Connections are closed, and so is each new one.
    Refused,
}

/// A proxy in front of one server. When it is dropped, every connection through it ends.
pub(crate) struct TcpProxy {
    server_url: String,
    port: u16,
    /// The mode, and the number of cuts so far: each cut ends the connections that were made before it.
    mode: Arc<watch::Sender<(Mode, u64)>>,
    /// Freezes behind the next request that contains these bytes.
    until: Arc<Mutex<Option<&'static [u8]>>>,
    /// Whether bytes came that do not pass.
    holds: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl TcpProxy {
    /// Listens on a port of its own, in front of the server a URL names.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new((Mode::Open, 0)));
        let (until, holds) = (Arc::default(), Arc::new(watch::Sender::new(false)));
        let (server, modes) = (authority(url).to_owned(), mode.subscribe());
        let ends = Ends {
            mode: Arc::clone(&mode),
            until: Arc::clone(&until),
            holds: Arc::clone(&holds),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if modes.borrow().0 == Mode::Refused {
                    continue;
                }
                if let Ok(server) = TcpStream::connect(&server).await {
                    connections.spawn(join(client, server, ends.clone()));
                }
            }
        });
        Self {
            server_url: url.to_owned(),
            port,
            mode,
            until,
            holds,
            _tasks: tasks,
        }
    }

    /// The URL by which the server is reached through this proxy.
    pub(crate) fn url(&self) -> String {
        let through = format!("127.0.0.1:{}", self.port);
        self.server_url
            .replacen(authority(&self.server_url), &through, 1)
    }

    /// Ends every connection, and accepts new ones.
    pub(crate) fn cut(&self) {
        self.mode.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// Delays all bytes by this in each direction.
    pub(crate) fn slow(&self, delay: Duration) {
        self.set(Mode::Slow(delay));
    }

    /// Passes nothing from now on, without ending a connection.
    pub(crate) fn freeze(&self) {
        self.set(Mode::Frozen);
    }

    /// Passes nothing any more once the next request that contains these bytes has passed.
    pub(crate) fn freeze_behind(&self, request: &'static [u8]) {
        *self.until.lock().unwrap() = Some(request);
    }

    /// Waits until a frozen proxy holds bytes back.
    pub(crate) async fn holds_something(&self) {
        let mut holds = self.holds.subscribe();
        holds.wait_for(|holds| *holds).await.unwrap();
    }

    /// Ends every connection, and closes each new one.
    pub(crate) fn refuse(&self) {
        self.set(Mode::Refused);
        self.cut();
    }

    /// Passes everything again.
    pub(crate) fn mend(&self) {
        self.set(Mode::Open);
    }

    fn set(&self, mode: Mode) {
        self.mode.send_modify(|(now, _)| *now = mode);
    }
}

/// The state that the proxy shares with its connections.
#[derive(Clone)]
struct Ends {
    mode: Arc<watch::Sender<(Mode, u64)>>,
    until: Arc<Mutex<Option<&'static [u8]>>>,
    holds: Arc<watch::Sender<bool>>,
}

impl Ends {
    /// Waits until bytes may pass; `false`: never.
    async fn may_pass(&self) -> bool {
        let mut modes = self.mode.subscribe();
        if modes.borrow().0 == Mode::Frozen {
            self.holds.send_replace(true);
        }
        let passes = |(mode, _): &(Mode, u64)| matches!(mode, Mode::Open | Mode::Slow(_));
        let delay = match modes.wait_for(passes).await.as_deref() {
            Ok((Mode::Slow(delay), _)) => *delay,
            Ok(_) => return true,
            Err(_) => return false,
        };
        sleep(delay).await;
        true
    }

    /// Freezes the proxy if these bytes contain the awaited request.
    fn passed(&self, bytes: &[u8]) {
        let mut until = self.until.lock().unwrap();
        let is_it = |request: &mut &[u8]| bytes.windows(request.len()).any(|part| part == *request);
        if until.take_if(|request| is_it(request)).is_some() {
            self.mode.send_modify(|(mode, _)| *mode = Mode::Frozen);
        }
    }
}

async fn join(client: TcpStream, server: TcpStream, ends: Ends) {
    let mut modes = ends.mode.subscribe();
    let born = modes.borrow().1;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, &ends) => {}
        () = pass(from_server, to_client, &ends) => {}
        _ = modes.wait_for(|(_, cuts)| *cuts > born) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, ends: &Ends) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if !ends.may_pass().await || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
        ends.passed(&bytes[..length]);
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split(['/', '?']).next().unwrap();
    authority.rsplit('@').next().unwrap()
}
