//! The socketioxide peer: its library on axum, with PostgreSQL when a database is given.

use axum::{Router, routing::get, serve::ListenerExt};
use clap::Parser;
use futures::{FutureExt, future};
use roost_peers::{
    shapes::{self, Seqs},
    signals,
    store::{CONNECTIONS_MAX, SeqSource, Store},
};
use roost_schema::{JoinRoom, Message, MoveCursor, SendMessageToRoom, UserId};
use serde_json::{Value, json};
use socketioxide::{
    BroadcastError, SocketIoBuilder, TransportType,
    extract::{AckSender, Data, Extension, SocketRef, State, TryData},
    handler::ConnectHandler,
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many packets may wait for one socket. The library loses what comes beyond, and its default of 128 is soon reached.
const BUFFER_PACKETS: usize = 4_096;

/// A stock socketioxide server.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:4100")]
    listen: SocketAddr,
    /// A URL of `PostgreSQL`: messages are committed before they are told.
    #[arg(long)]
    database: Option<String>,
    #[arg(long, value_enum, default_value = "room")]
    seq: SeqSource,
    #[arg(long, default_value_t = CONNECTIONS_MAX)]
    pool: u32,
}

/// What all sockets share.
#[derive(Default)]
struct Peer {
    seqs: Seqs,
    store: Option<Store>,
    /// Packets that found a buffer full, or a socket closed.
    undelivered: AtomicUsize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut peer = Peer::default();
    if let Some(url) = &arguments.database {
        peer.store = Some(Store::connect(url, arguments.pool, arguments.seq).await?);
    }
    let peer = Arc::new(peer);
    let (layer, io) = SocketIoBuilder::new()
        .transports([TransportType::Websocket])
        .max_buffer_size(BUFFER_PACKETS)
        .with_state(Arc::clone(&peer))
        .build_layer();
    io.ns("/", connected.with(register));
    let app = Router::new()
        .route("/readyz", get(async || "ok"))
        .layer(layer);
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("peer-socketioxide listens on {}", listener.local_addr()?);
    // An error means that the socket is closed already.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::select! {
        end = axum::serve(listener, app).into_future() => end?,
        stop = signals::stop() => stop?,
    }
    let undelivered = peer.undelivered.load(Ordering::Relaxed);
    println!("{}", json!({ "undelivered": undelivered }));
    Ok(())
}

async fn connected() {}

/// Registers the handlers before the client is told that it is connected: an event that follows at once is handled.
async fn register(
    socket: SocketRef,
    TryData(auth): TryData<Value>,
    State(peer): State<Arc<Peer>>,
) -> Result<(), Infallible> {
    socket
        .extensions
        .insert(shapes::user_of(&auth.unwrap_or_default()));
    socket.on("room:join", join);
    socket.on("cursor:move", move_cursor);
    if peer.store.is_some() {
        socket.on("message:send", store_message);
    } else {
        socket.on("message:send", count_message);
    }
    Ok(())
}

async fn join(socket: SocketRef, Data(input): Data<JoinRoom>, ack: AckSender) {
    socket.join(input.room.to_string());
    // An error means that the socket is gone.
    let _ = ack.send(&shapes::joined());
}

/// Tells before it returns its future: the library runs the futures of one socket side by side, and its events would change
/// places.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the library passes what it extracts by value"
)]
fn move_cursor(
    socket: SocketRef,
    Extension(user): Extension<UserId>,
    State(peer): State<Arc<Peer>>,
    Data(input): Data<MoveCursor>,
    ack: AckSender,
) -> future::Ready<()> {
    let others = socket.to(input.room.to_string());
    let awareness = shapes::awareness(&input, user);
    peer.told(others.emit("room:awareness", &awareness));
    // An error means that the socket is gone.
    let _ = ack.send(&json!({ "room": input.room }));
    future::ready(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the library passes what it extracts by value"
)]
fn count_message(
    socket: SocketRef,
    Extension(user): Extension<UserId>,
    State(peer): State<Arc<Peer>>,
    Data(input): Data<SendMessageToRoom>,
    ack: AckSender,
) -> future::Ready<()> {
    let SendMessageToRoom { room, text, .. } = input;
    let message = peer.seqs.next(room, |seq| {
        let message = shapes::message(room, seq, user, text);
        peer.tell(&socket, &message);
        message
    });
    // An error means that the socket is gone.
    let _ = ack.send(&message);
    future::ready(())
}

async fn store_message(
    socket: SocketRef,
    Extension(user): Extension<UserId>,
    State(peer): State<Arc<Peer>>,
    Data(input): Data<SendMessageToRoom>,
    ack: AckSender,
) {
    let Some(store) = &peer.store else { return };
    // An error of an acknowledgement means that the socket is gone.
    let _ = match store.append(input.room, user, input.text).await {
        Ok(message) => {
            peer.tell(&socket, &message);
            ack.send(&message)
        }
        Err(error) => {
            eprintln!("peer-socketioxide: {error}");
            ack.send(&json!({ "error": { "code": "internal", "message": error.to_string() } }))
        }
    };
}

impl Peer {
    /// Tells everyone in the room.
    fn tell(&self, socket: &SocketRef, message: &Message) {
        match shapes::events(message) {
            Ok(events) => {
                let everyone = socket.within(message.room_id.to_string());
                self.told(everyone.emit("room:events", &events));
            }
            Err(error) => eprintln!("peer-socketioxide: {error}"),
        }
    }

    /// Runs a broadcast, which is done when it was polled once: there is no other server to wait for.
    fn told(&self, broadcast: impl Future<Output = Result<(), BroadcastError>>) {
        if let Some(Err(BroadcastError::Socket(errors))) = broadcast.now_or_never() {
            self.undelivered.fetch_add(errors.len(), Ordering::Relaxed);
        }
    }
}
