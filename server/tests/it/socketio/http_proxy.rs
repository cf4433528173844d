//! A small HTTP proxy that pools its connections to the server, as real ones do: requests of several people use one
//! connection after each other.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONNECTION},
    response::Response,
};
use hyper::{client::conn::http1::SendRequest, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Small buffers, so that the server soon notices that a client behind the proxy does not read.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1_024;
const SEND_BUFFER_BYTES: u32 = 16 * 1_024;
const BODY_BYTES_MAX: usize = 64 << 20;

pub(super) struct HttpProxy {
    pub(super) address: SocketAddr,
    pool: Arc<Pool>,
    _stop: DropGuard,
}

struct Pool {
    upstream: SocketAddr,
    idle: Mutex<Vec<SendRequest<Body>>>,
    opened: AtomicUsize,
    reused: AtomicUsize,
    tasks: TaskTracker,
}

impl HttpProxy {
    pub(super) fn before(upstream: SocketAddr) -> Self {
        let pool = Arc::new(Pool {
            upstream,
            idle: Mutex::default(),
            opened: AtomicUsize::new(0),
            reused: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
        });
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(forward)
            .with_state(Arc::clone(&pool));
        let stop = CancellationToken::new();
        let until = stop.clone();
        pool.tasks.spawn(async move {
            let serving = axum::serve(listener, router).into_future();
            until.run_until_cancelled(serving).await;
        });
        Self {
            address,
            pool,
            _stop: stop.drop_guard(),
        }
    }

    /// How many requests used a connection that had served another one before.
    pub(super) fn reused(&self) -> usize {
        self.pool.reused.load(Ordering::Relaxed)
    }
}

fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(1_024).unwrap()
}

async fn forward(State(pool): State<Arc<Pool>>, mut request: Request) -> Response {
    let client = request.extensions_mut().remove::<OnUpgrade>();
    let (mut parts, body) = request.into_parts();
    parts.extensions.clear();
    if client.is_none() {
        parts.headers.remove(CONNECTION);
    }
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let mut upstream = pool.take().await;
    let request = Request::from_parts(parts, Body::from(body));
    let Ok(mut response) = upstream.send_request(request).await else {
        return bad_gateway();
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (client, server) = (client.unwrap(), hyper::upgrade::on(&mut response));
        pool.tasks.spawn(async move {
            if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                // When one side ends, both end.
                let _ =
                    copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
            }
        });
        return response.map(Body::new);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(Body::new(body), BODY_BYTES_MAX).await else {
        return bad_gateway();
    };
    if upstream.ready().await.is_ok() {
        pool.idle.lock().unwrap().push(upstream);
    }
    Response::from_parts(parts, Body::from(body))
}

impl Pool {
    async fn take(&self) -> SendRequest<Body> {
        loop {
            let Some(mut idle) = self.idle.lock().unwrap().pop() else {
                return self.open().await;
            };
            if idle.ready().await.is_ok() {
                self.reused.fetch_add(1, Ordering::Relaxed);
                return idle;
            }
        }
    }

    async fn open(&self) -> SendRequest<Body> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        let stream = socket.connect(self.upstream).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        self.tasks.spawn(connection.with_upgrades());
        sender
    }
}

fn bad_gateway() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
