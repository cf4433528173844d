//! Socket.IO at `/socket.io`: WebSocket and long-polling, one namespace, rooms inside it.
//!
//! The way of a command: [`handshake`] checks the HTTP request, the engine parses it, `reply` reads the event and
//! checks its socket, the row of the command in `sockets` calls one use case, and `reply` acknowledges. Events leave
//! through `sender`.

mod auth;
mod connection;
mod engine_session;
mod handshake;
mod in_flight;
pub mod listener;
mod names;
mod reply;
mod sender;
mod stats;

pub use engine_session::EngineSessions;
pub use names::command_names;

use super::{
    Limits, Shared, WEBSOCKET_READ_BYTES, arrivals::ACCOUNT_BYTES_MAX, body::Bodies,
    shares::Shares, sockets,
};
use crate::app::App;
use axum::{Router, middleware};
use connection::Connection;
use rand::Rng;
use roost_schema::ErrorCode;
use sender::SocketSender;
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

/// No command takes binary data. An event that announces attachments ends its socket: the parser would keep the event
/// until they have come, however long that takes, and `Arrivals` would not count its bytes.
const ATTACHMENTS_MAX: usize = 0;

/// Packets the engine keeps for one socket. `in_flight` has the bounds of each class of packets.
const BUFFER_PACKETS: usize = 128;

/// The answer to one poll takes everything that is in flight, which `sender` bounds. It must never be too small: the
/// engine would keep a packet for the next poll, and loses it when the client moves to a WebSocket in between.
const POLL_BYTES_MAX: u64 = 64 << 20;

/// How many sessions this instance holds, and how many of them are not connected to the namespace
/// yet. A session that polls holds no connection, so the cap on connections does not bound them.
const SESSIONS_MAX: usize = 20_000;
const UNCONNECTED_MAX: usize = 2_500;
/// Unconnected sessions of one client address: as many as it may open at once by default. Twenty addresses leave a
/// fifth to the others.
const UNCONNECTED_SHARE: usize = UNCONNECTED_MAX / 25;

/// A stopping server closes each socket at a random moment within this time.
const DRAIN_SPREAD: Duration = Duration::from_secs(2);
/// All sockets are closed within this: the last one, too, has the time it may take.
pub const DRAIN_TIME: Duration = DRAIN_SPREAD.saturating_add(connection::CLOSE_TIME_MAX);
/// When clients of a stopping server come back: soon, but not together.
const DRAIN_RETRY_MAX: Duration = Duration::from_secs(1);

/// What all sockets share.
struct Sockets {
    app: App,
    limits: Arc<Limits>,
    bodies: Bodies,
    engine_sessions: Arc<EngineSessions>,
    instance: Arc<str>,
    seats: Arc<Semaphore>,
    unconnected: Arc<Shares>,
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
        engine_sessions: Arc::clone(&shared.engine_sessions),
        instance: Arc::clone(&shared.instance),
        seats: Arc::new(Semaphore::new(SESSIONS_MAX)),
        unconnected: Arc::new(Shares::new(UNCONNECTED_MAX, UNCONNECTED_SHARE)),
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
        // The guard lets the server go on stopping however this task ends. Until then the server takes connections: a
        // polling client receives `server:closing` in the answer to a request that it has yet to send.
        let _drained = shared.drained.clone().drop_guard();
        shared.closing.cancelled().await;
        tokio::join!(drain(&io, &drained), shared.web_sockets_closed());
    });
    Router::new()
        .route_service(PATH, service.clone())
        .route_service(&format!("{PATH}/"), service)
        .layer(middleware::from_fn_with_state(sockets, handshake::guard))
}

/// Whether a request is for this transport.
pub(super) fn is_path(path: &str) -> bool {
    path.strip_prefix(PATH)
        .is_some_and(|rest| rest.is_empty() || rest == "/")
}

/// Registers the handlers before the client is told that it is connected, so that an event that follows at once is
/// handled.
async fn register(socket: SocketRef) -> Result<(), Infallible> {
    sockets::table(&socket);
    reply::answer_unknown(&socket);
    socket.on_disconnect(end);
    Ok(())
}

/// Starts the tasks of a connected socket.
async fn begin(socket: SocketRef, State(all): State<Arc<Sockets>>) {
    let Some(connection) = Connection::of(&socket) else {
        return;
    };
    // The socket is connected before the flag is read: either `drain` has found the socket, or the socket sees the
    // flag.
    if all.is_draining.load(Ordering::SeqCst) {
        let (connection, socket) = (Arc::clone(&connection), socket.clone());
        all.connected
            .spawn(async move { send_elsewhere(&connection, socket).await });
    }
    let sender = SocketSender::new(socket.clone(), Arc::clone(&connection.engine_session));
    all.connected.spawn(async move {
        tokio::join!(
            auth::watch(&connection, socket),
            sockets::follow_sessions(&connection.socket, &sender),
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
        // A client that left the namespace has to connect again, or its transport is closed.
        let (sid, engine_session) = (socket.id, Arc::clone(&connection.engine_session));
        sockets.connected.spawn(async move {
            let waiting = tokio::time::sleep(CONNECT_TIMEOUT);
            let is_open = engine_session
                .ended()
                .run_until_cancelled(waiting)
                .await
                .is_some();
            if is_open && io.get_socket(sid).is_none() {
                engine_session.cut();
            }
        });
    }
}

/// Sends every client elsewhere, and takes no new ones.
async fn drain(io: &SocketIo, sockets: &Sockets) {
    sockets.is_draining.store(true, Ordering::SeqCst);
    for socket in io.sockets() {
        if let Some(connection) = Connection::of(&socket) {
            let wait = DRAIN_SPREAD.mul_f64(rand::rng().random());
            sockets.connected.spawn(async move {
                tokio::time::sleep(wait).await;
                send_elsewhere(&connection, socket).await;
            });
        }
    }
    sockets.connected.close();
    // Sessions that are left after that are cut.
    let _ = tokio::time::timeout(DRAIN_TIME, sockets.connected.wait()).await;
    for session in sockets.engine_sessions.all() {
        session.cut();
    }
}

async fn send_elsewhere(connection: &Connection, socket: SocketRef) {
    let retry = DRAIN_RETRY_MAX.mul_f64(rand::rng().random());
    connection
        .close(socket, ErrorCode::Unavailable, retry)
        .await;
}
