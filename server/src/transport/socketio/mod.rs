//! Socket.IO at `/socket.io`: WebSocket and long-polling, one namespace, rooms inside it.
//!
//! A command's way: [`door`] lets the HTTP request in, the engine parses it, `reply` reads the
//! event and admits its sender, the command's row in `sockets` calls one use case, and `reply`
//! acknowledges. What a room tells goes out through `outbox`.

mod auth;
mod census;
mod connection;
mod door;
pub mod listener;
mod outbox;
mod reply;
mod wire;

pub use wire::Wires;

use super::{
    Limits, Shared, WEBSOCKET_READ_BYTES, arrivals::ACCOUNT_BYTES_MAX, body::Bodies,
    shares::Shares, sockets,
};
use crate::app::App;
use axum::{Router, middleware};
use connection::Connection;
use outbox::Outbox;
use rand::Rng;
use roost_schema::ErrorCode;
use socketioxide::{
    ParserConfig, SocketIo, SocketIoBuilder,
    extract::{SocketRef, State},
    handler::ConnectHandler,
    socket::DisconnectReason,
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

const PATH: &str = "/socket.io";
const NAMESPACE: &str = "/";

const PING_INTERVAL: Duration = Duration::from_secs(12);
const PING_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a session may take to connect to the namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One WebSocket message, and one of its frames.
const MESSAGE_BYTES_MAX: usize = ACCOUNT_BYTES_MAX;

/// Nothing here takes binary data. An event that announces some ends its socket: the parser keeps the whole event until
/// what it announces has come, however long that takes, and its bytes would be on nobody's books.
const ATTACHMENTS_MAX: usize = 0;

/// Packets the engine keeps for one socket. See `wire` for how they are shared out.
const BUFFER_PACKETS: usize = 128;

/// The answer to one poll takes whatever is in flight. A packet the engine would put aside for the
/// next poll is lost when the client moves to a WebSocket in between, so there must never be one;
/// what may be in flight is bounded by the outbox.
const POLL_BYTES_MAX: u64 = 64 << 20;

/// How many sessions this instance holds, and how many of them are not connected to the namespace
/// yet. A session that polls holds no connection, so the cap on connections does not bound them.
const SESSIONS_MAX: usize = 20_000;
const NEWCOMERS_MAX: usize = 2_500;
/// Of one client address: as many as it may open at once by default. Twenty addresses leave a fifth to the others.
const NEWCOMERS_SHARE: usize = NEWCOMERS_MAX / 25;

/// A stopping server closes its sockets in waves, which take this long.
const DRAIN_WAVES: Duration = Duration::from_secs(2);
/// All sockets are closed within this: the last wave has its time, too.
pub const DRAIN_TIME: Duration = DRAIN_WAVES.saturating_add(connection::CLOSE_TIME_MAX);
/// When clients of a stopping server come back: soon, but not together.
const DRAIN_RETRY_MAX: Duration = Duration::from_secs(1);

/// What all sockets share.
struct Sockets {
    app: App,
    limits: Arc<Limits>,
    bodies: Bodies,
    wires: Arc<Wires>,
    instance: Arc<str>,
    seats: Arc<Semaphore>,
    newcomers: Arc<Shares>,
    is_draining: AtomicBool,
    /// The tasks of connected sockets, and a token for each of them.
    connected: TaskTracker,
}

/// The routes, to be merged into the server's. When the server closes, its sockets are drained first.
pub fn routes(app: &App, shared: &Shared) -> Router {
    let sockets = Arc::new(Sockets {
        app: app.clone(),
        limits: Arc::clone(&shared.limits),
        bodies: Bodies::new(app, shared),
        wires: Arc::clone(&shared.wires),
        instance: Arc::clone(&shared.instance),
        seats: Arc::new(Semaphore::new(SESSIONS_MAX)),
        newcomers: Arc::new(Shares::new(NEWCOMERS_MAX, NEWCOMERS_SHARE)),
        is_draining: AtomicBool::new(false),
        connected: TaskTracker::new(),
    });
    let parser = ParserConfig::common().max_incoming_binaries(ATTACHMENTS_MAX);
    let (service, io) = SocketIoBuilder::new()
        .with_parser(parser)
        .req_path(PATH)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .upgrade_timeout(CONNECT_TIMEOUT)
        .ws_read_buffer_size(WEBSOCKET_READ_BYTES)
        .max_buffer_size(BUFFER_PACKETS)
        .max_payload(POLL_BYTES_MAX)
        .ws_max_message_size(MESSAGE_BYTES_MAX)
        .ws_max_frame_size(MESSAGE_BYTES_MAX)
        .with_state(Arc::clone(&sockets))
        .build_svc();
    // The last middleware added runs first.
    io.ns(NAMESPACE, begin.with(register).with(auth::admit));
    let (shared, drained) = (shared.clone(), Arc::clone(&sockets));
    shared.tasks.clone().spawn(async move {
        // However this ends, the server goes on stopping. Until then it takes connections: a client
        // that polls hears that the server stops in the answer to a request it has yet to send.
        let _drained = shared.drained.clone().drop_guard();
        shared.closing.cancelled().await;
        tokio::join!(drain(&io, &drained), shared.web_sockets_closed());
    });
    Router::new()
        .route_service(PATH, service.clone())
        .route_service(&format!("{PATH}/"), service)
        .layer(middleware::from_fn_with_state(sockets, door::guard))
}

/// Whether a request is for this transport.
pub(super) fn is_path(path: &str) -> bool {
    path.strip_prefix(PATH)
        .is_some_and(|rest| rest.is_empty() || rest == "/")
}

/// Listens before the client learns that it is connected: an event that follows at once is heard.
async fn register(socket: SocketRef) -> Result<(), Infallible> {
    sockets::table(&socket);
    reply::answer_unknown(&socket);
    socket.on_disconnect(end);
    Ok(())
}

/// Starts what runs for a connected socket by itself.
async fn begin(socket: SocketRef, State(all): State<Arc<Sockets>>) {
    let Some(connection) = Connection::of(&socket) else {
        return;
    };
    // Connected before it is asked: who drains has seen the socket, or it sees who drains.
    if all.is_draining.load(Ordering::SeqCst) {
        let (connection, socket) = (Arc::clone(&connection), socket.clone());
        all.connected
            .spawn(async move { send_elsewhere(&connection, socket).await });
    }
    let outbox = Outbox::new(socket.clone(), Arc::clone(&connection.wire));
    all.connected.spawn(async move {
        tokio::join!(
            auth::watch(&connection, socket),
            sockets::follow_sessions(&connection.socket, &outbox),
        );
    });
}

async fn end(
    socket: SocketRef,
    reason: DisconnectReason,
    io: SocketIo,
    State(sockets): State<Arc<Sockets>>,
) {
    let Some(connection) = Connection::of(&socket) else {
        return;
    };
    let has_left = reason == DisconnectReason::ClientNSDisconnect;
    connection.end(has_left);
    if has_left {
        // A client that left closes its transport, or connects again; it does not stay for nothing.
        let (sid, wire) = (socket.id, Arc::clone(&connection.wire));
        sockets.connected.spawn(async move {
            let waiting = tokio::time::sleep(CONNECT_TIMEOUT);
            let is_open = wire.ended().run_until_cancelled(waiting).await.is_some();
            if is_open && io.get_socket(sid).is_none() {
                wire.cut();
            }
        });
    }
}

/// Sends every client elsewhere, and takes no new ones.
async fn drain(io: &SocketIo, sockets: &Sockets) {
    sockets.is_draining.store(true, Ordering::SeqCst);
    for socket in io.sockets() {
        if let Some(connection) = Connection::of(&socket) {
            let wait = DRAIN_WAVES.mul_f64(rand::rng().random());
            sockets.connected.spawn(async move {
                tokio::time::sleep(wait).await;
                send_elsewhere(&connection, socket).await;
            });
        }
    }
    sockets.connected.close();
    // Whoever is left after that is cut off.
    let _ = tokio::time::timeout(DRAIN_TIME, sockets.connected.wait()).await;
    for wire in sockets.wires.all() {
        wire.cut();
    }
}

async fn send_elsewhere(connection: &Connection, socket: SocketRef) {
    let retry = DRAIN_RETRY_MAX.mul_f64(rand::rng().random());
    connection
        .close(socket, ErrorCode::Unavailable, retry)
        .await;
}
