//! The serving loop. `axum::serve` waits for ever for slow heads and takes any number of
//! connections, so this builds connections itself, with a bound on everything.

use super::{request::PeerAddress, socketio::listener::Guarded};
use crate::config::Config;
use axum::{Router, body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{
    future::pending,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
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

/// Bytes of one request's head on HTTP/1, and of a header list on HTTP/2.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
const HEADERS_MAX: usize = 64;
const STREAMS_PER_CONNECTION_MAX: u32 = 128;
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections beyond the cap are told so at one time; the others are just closed.
const REFUSALS_MAX: usize = 64;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait when the system gives no more connections (no file handles, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a refused connection is told; the same for everyone, so that it costs nothing.
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    retry-after: 5\r\n\
    connection: close\r\n\
    content-length: 138\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"the server has as many connections as it may\",\"status\":503,\"code\":\"overloaded\",\"retryAfterMs\":5000}       ";

/// Answers connections until it is cancelled, then finishes what was begun.
pub struct Serving {
    listener: TcpListener,
    router: Router,
    header_timeout: Duration,
    write_stall_timeout: Duration,
    drain_timeout: Duration,
    slots: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Cancelled: take no new connections, finish the requests of the others.
    closing: CancellationToken,
    /// Cancelled: drop what is left.
    kill: CancellationToken,
}

impl Serving {
    pub fn new(
        listener: TcpListener,
        router: Router,
        config: &Config,
        closing: CancellationToken,
    ) -> Self {
        Self {
            listener,
            router,
            header_timeout: config.header_timeout,
            write_stall_timeout: config.write_stall_timeout,
            drain_timeout: config.drain_timeout,
            slots: Arc::new(Semaphore::new(config.connections_max as usize)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            tasks: TaskTracker::new(),
            closing,
            kill: CancellationToken::new(),
        }
    }

    /// Returns when every connection is closed, at the latest after the drain timeout.
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
        if timeout(self.drain_timeout, self.tasks.wait())
            .await
            .is_err()
        {
            let left = self.tasks.len();
            tracing::warn!(left, "connections did not finish in time, closing them");
            self.kill.cancel();
            self.tasks.wait().await;
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            metrics::counter!("roost_connections_refused_total").increment(1);
            if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                self.tasks.spawn(refuse(stream, permit));
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
    async fn serve(self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        let builder = self.builder();
        let (stream, handle) = Guarded::new(stream, self.write_stall_timeout);
        let stream = TokioIo::new(Occupying::new(stream, slot));
        // hyper-util waits without end for the bytes that tell HTTP/1 from HTTP/2, hence a deadline
        // of our own for the first request.
        let spoke = CancellationToken::new();
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            spoke.cancel();
            request.extensions_mut().insert(PeerAddress(peer));
            request.extensions_mut().insert(handle.clone());
            self.router.clone().oneshot(request.map(Body::new))
        });
        let mut connection = pin!(builder.serve_connection_with_upgrades(stream, service));
        let silence = async {
            if timeout(self.header_timeout, spoke.cancelled())
                .await
                .is_ok()
            {
                pending::<()>().await;
            }
        };
        let mut silence = pin!(silence);
        let mut is_closing = false;
        loop {
            tokio::select! {
                // A broken connection is the client's business.
                _ = connection.as_mut() => break,
                () = &mut silence => break,
                () = self.kill.cancelled() => break,
                () = self.closing.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        builder
    }
}

/// A connection with its place among those that may be open: a WebSocket keeps both after the
/// request that opened it is answered.
struct Occupying {
    stream: Guarded,
    _slot: OwnedSemaphorePermit,
}

impl Occupying {
    fn new(stream: Guarded, slot: OwnedSemaphorePermit) -> Self {
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

/// Tells a connection beyond the cap to come back later, and reads what it sent: closing with
/// unread bytes would reset the connection before the answer is read.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let farewell = async {
        stream.write_all(REFUSAL.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1_024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // It is closed either way.
    let _ = timeout(REFUSAL_TIMEOUT, farewell).await;
}
