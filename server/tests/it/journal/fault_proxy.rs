//! A TCP proxy that breaks one request, before the request reaches the server or after the server has answered it.

use socket2::{SockFilter, SockRef};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// PostgreSQL's Sync: the server commits the executed statements when it arrives.
const SYNC: &[u8] = b"S\0\0\0\x04";
/// How long the proxy waits for the kernel to acknowledge received bytes, which takes 40 ms at most. Unacknowledged
/// bytes would be sent again, which the server takes for a sign of life.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_millis(200);
/// A socket filter (classic BPF) that drops every packet, so that the host does not even acknowledge them.
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The connection is cut before the request reaches the server.
    CutBefore,
    /// The server has answered; the connection is cut instead of forwarding the answer.
    CutAfter,
    /// The server has answered; the answer never arrives.
    Silence,
    /// The request never reaches the server and its connection stays open, as if the client had frozen.
    SilenceBefore,
    /// The server receives everything but Sync, and no packet after that, as if the client's host had vanished.
    VanishBeforeSync,
}

/// The bytes to find in a request, and the fault that they cause once.
type Rule = Option<(&'static [u8], Fault)>;

pub(crate) struct FaultProxy {
    port: u16,
    rule: Arc<Mutex<Rule>>,
    _tasks: JoinSet<()>,
}

impl FaultProxy {
    /// Listens on its own port, in front of the server of a URL.
    pub(crate) async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule = Arc::new(Mutex::new(None));
        let (server, rules) = (address(url).to_owned(), Arc::clone(&rule));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                connections.spawn(relay(client, server, Arc::clone(&rules)));
            }
        });
        Self {
            port,
            rule,
            _tasks: tasks,
        }
    }

    /// The URL with this proxy in place of the server.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replacen(address(url), &format!("127.0.0.1:{}", self.port), 1)
    }

    /// Breaks the next request that contains these bytes.
    pub(crate) fn break_next(&self, request: &'static [u8], fault: Fault) {
        *self.rule.lock().unwrap() = Some((request, fault));
    }

    /// Whether a request with these bytes has come and was broken.
    pub(crate) fn has_broken(&self) -> bool {
        self.rule.lock().unwrap().is_none()
    }
}

/// The `host:port` of a URL.
fn address(url: &str) -> &str {
    let authority = url
        .split_once("://")
        .unwrap()
        .1
        .split(['/', '?'])
        .next()
        .unwrap();
    authority.rsplit('@').next().unwrap()
}

async fn relay(mut client: TcpStream, mut server: TcpStream, rules: Arc<Mutex<Rule>>) {
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                let sent = &request[..length];
                match take_fault(&rules, sent) {
                    None => {
                        if server.write_all(sent).await.is_err() {
                            return;
                        }
                    }
                    Some(Fault::CutBefore) => return,
                    Some(Fault::SilenceBefore) => std::future::pending::<()>().await,
                    Some(Fault::VanishBeforeSync) => {
                        let heard = sent.strip_suffix(SYNC).expect("all leaves in one write");
                        server.write_all(heard).await.unwrap();
                        sleep(ACKNOWLEDGED_AFTER).await;
                        SockRef::from(&server).attach_filter(&[DROP_ALL]).unwrap();
                        std::future::pending::<()>().await;
                    }
                    Some(fault) => {
                        server.write_all(sent).await.unwrap();
                        let _ = server.read(&mut answer).await;
                        if matches!(fault, Fault::Silence) {
                            while let Ok(1..) = client.read(&mut request).await {}
                        }
                        return;
                    }
                }
            }
            read = server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn take_fault(rules: &Mutex<Rule>, sent: &[u8]) -> Option<Fault> {
    let mut rule = rules.lock().unwrap();
    let (request, fault) = (*rule)?;
    let is_it = sent.windows(request.len()).any(|window| window == request);
    if is_it {
        *rule = None;
    }
    is_it.then_some(fault)
}
