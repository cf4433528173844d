//! Accepts and serves connections, each within bounds. `axum::serve` waits for ever for slow heads and accepts any
//! number of connections. HTTP/1.1 only: without TLS no browser speaks HTTP/2, and a connection of many streams would
//! escape the bounds.

use super::{
    Shared, health,
    inflow::Upgrading,
    problem,
    request::{self, PeerAddress},
    slots::{Slot, Slots},
    socketio::listener::{DROPPING_TIME, Guarded, SCRAP_BYTES},
};
use crate::{app::Error, config::Config};
use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, header::CONNECTION},
    middleware::from_fn_with_state,
    response::Response,
};
use futures::StreamExt;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use roost_schema::ErrorCode;
use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Bytes of one request's head.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
const HEADERS_MAX: usize = 64;
/// How many connections beyond the cap are answered at one time; the others are just closed.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const FULL: Error = Error::Later {
    code: ErrorCode::Overloaded,
    sentence: "there are as many connections as there may be",
    retry_after: Duration::from_secs(5),
};
/// Bytes of a refused request that are read and dropped after the answer.
const LINGER_BYTES_MAX: usize = 1_024 * 1_024;
/// How long to wait when the system gives no more connections (no file handles, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const IMPATIENT: Error = Error::refused(
    ErrorCode::Malformed,
    "nothing may follow a request for a WebSocket until it is answered",
);

/// Serves connections until it is cancelled, then finishes the requests that were begun.
pub struct Serving {
    listener: TcpListener,
    router: Router,
    header_timeout: Duration,
    write_stall_timeout: Duration,
    slots: Slots,
    /// Answers connections beyond the cap: health checks as ever, every other request with `overloaded`.
    beyond: Router,
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
            slots: Slots::new(config),
            beyond: beyond(shared),
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
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection gone before it was served");
            return;
        }
        let slot = self.slots.take(peer.ip()).map(Arc::new);
        let router = match slot {
            Some(_) => &self.router,
            None => &self.beyond,
        };
        let connection = HttpConnection {
            router: router.clone(),
            header_timeout: self.header_timeout,
            write_stall_timeout: self.write_stall_timeout,
            closing: self.closing.clone(),
            kill: self.kill.clone(),
        };
        if slot.is_some() {
            self.tasks.spawn(connection.serve(stream, peer, slot));
            return;
        }
        metrics::counter!("roost_connections_refused_total").increment(1);
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.tasks.spawn(async move {
                let _permit = permit;
                // The connection is closed whether it was answered in time or not.
                let _ = timeout(REFUSAL_TIMEOUT, connection.serve(stream, peer, None)).await;
            });
        }
    }
}

struct HttpConnection {
    router: Router,
    header_timeout: Duration,
    write_stall_timeout: Duration,
    closing: CancellationToken,
    kill: CancellationToken,
}

impl HttpConnection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, slot: Option<Arc<Slot>>) {
        let (stream, handle) = Guarded::new(stream, self.write_stall_timeout);
        let stream = TokioIo::new(Occupying::new(stream, slot.clone()));
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(peer));
            request.extensions_mut().insert(handle.clone());
            if let Some(slot) = &slot {
                request.extensions_mut().insert(Arc::clone(slot));
            }
            let upgrading = Upgrading::begin(&request, &handle);
            let answer = self.router.clone().oneshot(request.map(Body::new));
            async move {
                if upgrading.as_ref().is_some_and(Upgrading::is_impatient) {
                    return Ok(close_after(problem(&IMPATIENT)));
                }
                answer.await
            }
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
                // A broken connection is no error of this server.
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

/// A connection with its slot: a WebSocket keeps both after the request that opened it is answered.
struct Occupying {
    stream: Guarded,
    slot: Option<Arc<Slot>>,
}

impl Occupying {
    fn new(stream: Guarded, slot: Option<Arc<Slot>>) -> Self {
        metrics::gauge!("roost_connections").increment(1);
        Self { stream, slot }
    }
}

impl Drop for Occupying {
    fn drop(&mut self) {
        metrics::gauge!("roost_connections").decrement(1);
        // There is no runtime any more when the program ends.
        if let Ok(runtime) = Handle::try_current()
            && let Some(stream) = self.stream.take_lingering()
        {
            runtime.spawn(linger(stream, self.slot.take()));
        }
    }
}

/// Reads and drops for a moment. Only this small task is left of the connection then, however many are refused.
async fn linger(stream: TcpStream, slot: Option<Arc<Slot>>) {
    let reading = async {
        let mut left_bytes = LINGER_BYTES_MAX;
        while left_bytes > 0 && stream.readable().await.is_ok() {
            match drop_some(&stream) {
                Ok(0) => break,
                Ok(bytes) => left_bytes = left_bytes.saturating_sub(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    // The connection is closed however the reading ends.
    let _ = timeout(DROPPING_TIME, reading).await;
    drop(slot);
}

/// Reads into a buffer on the stack, which no task keeps between reads.
fn drop_some(stream: &TcpStream) -> io::Result<usize> {
    stream.try_read(&mut [0; SCRAP_BYTES])
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

/// The router of connections beyond the cap: it answers health checks, and refuses the rest with a time to come back.
fn beyond(shared: &Shared) -> Router {
    health::router(&shared.health)
        .fallback(refuse)
        .layer(from_fn_with_state(
            Arc::new(shared.clone()),
            request::observe,
        ))
}

async fn refuse(request: Request<Body>) -> Response {
    // Closing with unread bytes would reset the connection before the answer is read.
    let mut rest = request.into_body().into_data_stream();
    while rest.next().await.is_some_and(|chunk| chunk.is_ok()) {}
    close_after(problem(&FULL))
}

fn close_after(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
