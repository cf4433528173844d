//! A cable to a server, for tests that pull it: a TCP proxy that can cut, freeze or refuse everything.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections stay, and nothing passes.
    Frozen,
    /// Connections are closed, and so is each new one.
    Refused,
}

/// Dropped, it is pulled.
pub(crate) struct Cable {
    server_url: String,
    port: u16,
    /// With the number of cuts so far: each ends the connections before it.
    mode: watch::Sender<(Mode, u64)>,
    _tasks: JoinSet<()>,
}

impl Cable {
    /// Listens on a port of its own, in front of the server a URL names.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = watch::Sender::new((Mode::Open, 0));
        let (server, modes) = (authority(url).to_owned(), mode.subscribe());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if modes.borrow().0 == Mode::Refused {
                    continue;
                }
                if let Ok(server) = TcpStream::connect(&server).await {
                    connections.spawn(join(client, server, modes.clone()));
                }
            }
        });
        Self {
            server_url: url.to_owned(),
            port,
            mode,
            _tasks: tasks,
        }
    }

    /// The URL by which the server is reached through this cable.
    pub(crate) fn url(&self) -> String {
        let through = format!("127.0.0.1:{}", self.port);
        self.server_url
            .replacen(authority(&self.server_url), &through, 1)
    }

    /// Ends every connection; new ones are taken.
    pub(crate) fn cut(&self) {
        self.mode.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// Nothing passes from now on, and nobody is told.
    pub(crate) fn freeze(&self) {
        self.set(Mode::Frozen);
    }

    /// Ends every connection and takes no new ones.
    pub(crate) fn refuse(&self) {
        self.set(Mode::Refused);
        self.cut();
    }

    /// All is well again.
    pub(crate) fn mend(&self) {
        self.set(Mode::Open);
    }

    fn set(&self, mode: Mode) {
        self.mode.send_modify(|(now, _)| *now = mode);
    }
}

async fn join(client: TcpStream, server: TcpStream, mut modes: watch::Receiver<(Mode, u64)>) {
    let born = modes.borrow().1;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = (modes.clone(), modes.clone());
    tokio::select! {
        () = pass(from_client, to_server, there) => {}
        () = pass(from_server, to_client, back) => {}
        _ = modes.wait_for(|(_, cuts)| *cuts > born) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<(Mode, u64)>,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if modes
            .wait_for(|(mode, _)| *mode == Mode::Open)
            .await
            .is_err()
        {
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split(['/', '?']).next().unwrap();
    authority.rsplit('@').next().unwrap()
}
