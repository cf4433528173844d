//! The serving loop. `axum::serve` waits for ever for slow heads and takes any number of
//! connections, so this builds connections itself, with a bound on everything. HTTP/1.1 only: without
//! TLS no browser speaks HTTP/2, and a connection of many streams would escape these bounds.

use super::{
    Shared,
    limits::network,
    request::{INSTANCE, PeerAddress},
    socketio::listener::Guarded,
};
use crate::config::Config;
use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Bytes of one request's head.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
const HEADERS_MAX: usize = 64;
/// One address may hold one in this many of all connections.
const ADDRESS_SHARE: u32 = 10;
/// However few there may be in all, one address may hold this many.
const ADDRESS_CONNECTIONS_MIN: u32 = 64;
/// How many connections beyond the cap are told so at one time; the others are just closed.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait when the system gives no more connections (no file handles, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers connections until it is cancelled, then finishes what was begun.
pub struct Serving {
    listener: TcpListener,
    router: Router,
    header_timeout: Duration,
    write_stall_timeout: Duration,
    slots: Slots,
    /// What a refused connection is told; the same for everyone, so that it costs nothing.
    refusal: Arc<str>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Cancelled: take no new connections, finish the requests of the others.
    closing: CancellationToken,
    /// Cancelled: drop what is left.
    kill: CancellationToken,
}

impl Serving {
    pub fn new(listener: TcpListener, router: Router, config: &Config, shared: &Shared) -> Self {
        Self {
            listener,
            router,
            header_timeout: config.header_timeout,
            write_stall_timeout: config.write_stall_timeout,
            refusal: refusal(&shared.instance).into(),
            slots: Slots::new(config),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            tasks: TaskTracker::new(),
            closing: shared.drained.clone(),
            kill: shared.cut.clone(),
        }
    }

    /// Returns when every connection is closed.
    pub async fn run(self) {
        while let Some(accepted) = self
            .closing
            .run_until_cancelled(self.listener.accept())
            .await
        {
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted, pausing");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        self.tasks.close();
        let finished = self.kill.run_until_cancelled(self.tasks.wait()).await;
        if finished.is_none() {
            let left = self.tasks.len();
            tracing::warn!(left, "connections did not finish in time, closing them");
            self.tasks.wait().await;
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(slot) = self.slots.take(peer.ip()) else {
            metrics::counter!("roost_connections_refused_total").increment(1);
            if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                let (kill, refusal) = (self.kill.clone(), Arc::clone(&self.refusal));
                self.tasks.spawn(async move {
                    let refusing = refuse(stream, &refusal, permit);
                    kill.run_until_cancelled(refusing).await;
                });
            }
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection gone before it was served");
            return;
        }
        let connection = Connection {
            router: self.router.clone(),
            header_timeout: self.header_timeout,
            write_stall_timeout: self.write_stall_timeout,
            closing: self.closing.clone(),
            kill: self.kill.clone(),
        };
        self.tasks.spawn(connection.serve(stream, peer, slot));
    }
}

struct Connection {
    router: Router,
    header_timeout: Duration,
    write_stall_timeout: Duration,
    closing: CancellationToken,
    kill: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        let (stream, handle) = Guarded::new(stream, self.write_stall_timeout);
        let stream = TokioIo::new(Occupying::new(stream, slot));
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(peer));
            request.extensions_mut().insert(handle.clone());
            self.router.clone().oneshot(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(stream, service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let mut is_closing = false;
        loop {
            tokio::select! {
                // A broken connection is the client's business.
                _ = connection.as_mut() => break,
                () = self.kill.cancelled() => break,
                () = self.closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// The places for connections, of which one address may take a share only.
struct Slots {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, u32>>>,
    address_max: u32,
    /// They speak for many clients.
    trusted_proxies: Vec<IpNet>,
}

impl Slots {
    fn new(config: &Config) -> Self {
        Self {
            all: Arc::new(Semaphore::new(config.connections_max as usize)),
            by_address: Arc::default(),
            address_max: (config.connections_max / ADDRESS_SHARE).max(ADDRESS_CONNECTIONS_MIN),
            trusted_proxies: config.trusted_proxies.clone(),
        }
    }

    fn take(&self, peer: IpAddr) -> Option<Slot> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let peer = peer.to_canonical();
        let is_proxy = self.trusted_proxies.iter().any(|net| net.contains(&peer));
        let address = (!is_proxy).then(|| network(peer));
        if let Some(address) = address {
            let mut by_address = self
                .by_address
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let held = by_address.entry(address).or_default();
            if *held >= self.address_max {
                return None;
            }
            *held += 1;
        }
        Some(Slot {
            address,
            by_address: Arc::clone(&self.by_address),
            _permit: permit,
        })
    }
}

/// One connection's place; given back when it is dropped.
struct Slot {
    address: Option<IpAddr>,
    by_address: Arc<Mutex<HashMap<IpAddr, u32>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by_address.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// A connection with its place among those that may be open: a WebSocket keeps both after the
/// request that opened it is answered.
struct Occupying {
    stream: Guarded,
    _slot: Slot,
}

impl Occupying {
    fn new(stream: Guarded, slot: Slot) -> Self {
        metrics::gauge!("roost_connections").increment(1);
        Self {
            stream,
            _slot: slot,
        }
    }
}

impl Drop for Occupying {
    fn drop(&mut self) {
        metrics::gauge!("roost_connections").decrement(1);
    }
}

impl AsyncRead for Occupying {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Occupying {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn refusal(instance: &str) -> String {
    let body = format!(
        r#"{{"type":"about:blank","title":"there are as many connections as there may be","status":503,"code":"overloaded","retryAfterMs":5000,"instance":"{instance}"}}"#
    );
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         content-type: application/problem+json\r\nretry-after: 5\r\n{INSTANCE}: {instance}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Tells a connection beyond the cap to come back later, and reads what it sent: closing with
/// unread bytes would reset the connection before the answer is read.
async fn refuse(mut stream: TcpStream, refusal: &str, _permit: OwnedSemaphorePermit) {
    let farewell = async {
        stream.write_all(refusal.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1_024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // It is closed either way.
    let _ = timeout(REFUSAL_TIMEOUT, farewell).await;
}
