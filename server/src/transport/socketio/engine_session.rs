//! One Engine.IO session: the packets that are in flight on it, and its end. A session begins on polling, or on a
//! WebSocket of its own, and may move from polling to a WebSocket.

use super::{
    in_flight::{InFlight, PacketClass},
    listener::ConnectionHandle,
};
use crate::{
    live::Fence,
    transport::{inflow::Overrun, shares::One},
};
use parking_lot::Mutex;
use socketioxide::{SendError, SocketError, socket::Sid};
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Bytes of replies that may wait to be sent. A client that sends more commands and does not read is closed.
const HELD_BYTES_MAX: usize = 16 << 20;

/// How often one session may connect to the namespace. A stock client does so once. Each connect begins a new budget of
/// events, so a client could escape the budget by connecting again.
const CONNECTS_MAX: u32 = 3;

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// The buffer is full: try again when a packet has left.
    Full,
    /// The socket is not in the namespace: not yet, or not any more.
    Outside,
    /// The socket has ended.
    Gone,
}

/// An Engine.IO session, over one WebSocket or many polls.
pub(super) struct EngineSession {
    flow: Mutex<Flow>,
    moved: Arc<Notify>,
    ended: CancellationToken,
    engine_sessions: Weak<EngineSessions>,
    fence: Fence,
    sid: OnceLock<Sid>,
    /// The permit of a session that is not connected to the namespace yet.
    unconnected: Mutex<Option<One>>,
    _seat: OwnedSemaphorePermit,
    connects: AtomicU32,
    /// Bytes of the replies that wait to be sent.
    held_bytes: AtomicUsize,
    /// Cancelled when the login session of the connected person is revoked.
    session_end: Mutex<CancellationToken>,
}

struct Flow {
    transport: EngineTransport,
    in_flight: InFlight,
    /// Bytes of the polls that were answered in full.
    polled_bytes: u64,
}

enum EngineTransport {
    Polling,
    WebSocket {
        connection: ConnectionHandle,
        /// Bytes the connection had written when the session moved to it.
        written_before: u64,
    },
}

impl EngineSession {
    /// Counts the bytes of a reply until it is sent. `None`: too many bytes wait already.
    pub(super) fn hold(&self, bytes: usize) -> Option<HeldReply<'_>> {
        let before = self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        let held = HeldReply {
            engine_session: self,
            bytes,
        };
        (before + bytes <= HELD_BYTES_MAX).then_some(held)
    }

    /// Counts one connect to the namespace; `false` when there were too many.
    pub(super) fn count_connect(&self) -> bool {
        self.connects.fetch_add(1, Ordering::Relaxed) < CONNECTS_MAX
    }

    /// `connection`: that of the WebSocket; `None` for a session that polls. The two permits count the session among
    /// all of this instance, and among those that are not connected to the namespace yet.
    pub(super) fn new(
        engine_sessions: &Arc<EngineSessions>,
        fence: Fence,
        connection: Option<ConnectionHandle>,
        seat: OwnedSemaphorePermit,
        unconnected: One,
    ) -> Arc<Self> {
        Arc::new(Self {
            flow: Mutex::new(Flow {
                transport: connection.map_or(EngineTransport::Polling, EngineTransport::on),
                in_flight: InFlight::default(),
                polled_bytes: 0,
            }),
            moved: Arc::default(),
            ended: CancellationToken::new(),
            engine_sessions: Arc::downgrade(engine_sessions),
            fence,
            sid: OnceLock::new(),
            unconnected: Mutex::new(Some(unconnected)),
            _seat: seat,
            connects: AtomicU32::new(0),
            held_bytes: AtomicUsize::new(0),
            session_end: Mutex::default(),
        })
    }

    /// Lists the session under its id.
    pub(super) fn register(self: &Arc<Self>, sid: Sid) {
        if self.sid.set(sid).is_ok()
            && let Some(engine_sessions) = self.engine_sessions.upgrade()
        {
            engine_sessions
                .by_sid
                .lock()
                .insert(sid, Arc::downgrade(self));
        }
    }

    /// Sends no frames after the login session is revoked, which cancels `session_end`.
    pub(super) fn watch_revocation(&self, session_end: CancellationToken) {
        *self.session_end.lock() = session_end;
    }

    /// The session is connected to the namespace: gives back its permit as an unconnected one.
    pub(super) fn mark_connected(&self) {
        self.unconnected.lock().take();
        if let EngineTransport::WebSocket { connection, .. } = &self.flow.lock().transport {
            connection.sign_in();
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.unconnected.lock().is_none()
    }

    /// Moves a polling session to the connection of its WebSocket request. `false`: it had moved.
    pub(super) fn move_to(&self, connection: &ConnectionHandle) -> bool {
        let mut flow = self.flow.lock();
        if matches!(flow.transport, EngineTransport::WebSocket { .. }) {
            return false;
        }
        flow.transport = EngineTransport::on(connection.clone());
        drop(flow);
        if self.is_connected() {
            connection.sign_in();
        }
        self.moved.notify_waiters();
        true
    }

    /// Counts a poll that was answered in full with this many bytes.
    pub(super) fn count_poll(&self, bytes: u64) {
        // The first packet of an answer has no separator before it; every packet counts one.
        self.flow.lock().polled_bytes += bytes + SEPARATOR_BYTES;
        self.moved.notify_waiters();
    }

    /// Sends a packet of `text_bytes`, unless its class is full. The packet is counted before it is sent: counted after
    /// it was written, it would stay in flight for ever.
    pub(super) fn send(
        &self,
        class: PacketClass,
        text_bytes: usize,
        emit: impl FnOnce() -> Result<(), SendError>,
    ) -> Result<(), NotSent> {
        if self.has_ended() {
            return Err(NotSent::Gone);
        }
        if class == PacketClass::Frame {
            if self.fence.is_shut() {
                return Err(NotSent::Full);
            }
            // A revocation is known before the fence opens: a frame that waited behind the fence is not sent to a
            // person who was signed out meanwhile.
            if self.session_end.lock().is_cancelled() {
                return Err(NotSent::Gone);
            }
        }
        let mut flow = self.flow.lock();
        let bytes = flow.transport.packet_bytes(text_bytes);
        let in_flight = flow.in_flight();
        if !in_flight.admits(class) {
            return Err(NotSent::Full);
        }
        in_flight.add(bytes);
        emit().map_err(|error| {
            in_flight.remove_last(bytes);
            match error {
                SendError::Socket(SocketError::InternalChannelFull) => NotSent::Full,
                SendError::Socket(SocketError::Closed) => NotSent::Outside,
                SendError::Serialize(_) => NotSent::Gone,
            }
        })
    }

    pub(super) fn admits(&self, class: PacketClass) -> bool {
        self.flow.lock().in_flight().admits(class)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.flow.lock().in_flight().packets() == 0
    }

    /// Resolves when a packet has left this process after this call.
    pub(super) fn next_move(&self) -> impl Future<Output = ()> + Send + use<> {
        let moved = Arc::clone(&self.moved).notified_owned();
        let written = match &self.flow.lock().transport {
            EngineTransport::Polling => None,
            EngineTransport::WebSocket { connection, .. } => Some(connection.next_write()),
        };
        async move {
            match written {
                None => moved.await,
                Some(written) => tokio::select! {
                    () = moved => {}
                    () = written => {}
                },
            }
        }
    }

    /// Resolves when the client sends more on the WebSocket than it may.
    pub(super) async fn overrun(&self) -> Overrun {
        loop {
            let moved = Arc::clone(&self.moved).notified_owned();
            let connection = match &self.flow.lock().transport {
                EngineTransport::Polling => None,
                EngineTransport::WebSocket { connection, .. } => Some(connection.clone()),
            };
            match connection {
                None => moved.await,
                Some(connection) => return connection.overrun().await,
            }
        }
    }

    /// Ends the session: the connection of a WebSocket is closed, the id of a polling session is refused. The
    /// connection of a polling request stays open: a proxy uses it for other people, too.
    pub(super) fn cut(&self) {
        self.ended.cancel();
        if let EngineTransport::WebSocket { connection, .. } = &self.flow.lock().transport {
            connection.kill();
        }
    }

    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

/// The engine holds this in the parts of its first request, and drops it at its end.
impl Drop for EngineSession {
    fn drop(&mut self) {
        if let (Some(sid), Some(engine_sessions)) = (self.sid.get(), self.engine_sessions.upgrade())
        {
            engine_sessions.by_sid.lock().remove(sid);
        }
    }
}

impl Flow {
    /// The packets in flight, without those that have left since the last call.
    fn in_flight(&mut self) -> &mut InFlight {
        let written = match &self.transport {
            EngineTransport::Polling => 0,
            EngineTransport::WebSocket {
                connection,
                written_before,
            } => connection.written_bytes().saturating_sub(*written_before),
        };
        self.in_flight.advance(self.polled_bytes + written);
        &mut self.in_flight
    }
}

/// The byte between two packets in the answer to a poll.
const SEPARATOR_BYTES: u64 = 1;

impl EngineTransport {
    fn on(connection: ConnectionHandle) -> Self {
        Self::WebSocket {
            written_before: connection.written_bytes(),
            connection,
        }
    }

    /// The length of a Socket.IO packet with the engine's type digit and the WebSocket's frame (RFC 6455 §5.2; the
    /// server does not mask).
    fn packet_bytes(&self, text_bytes: usize) -> u64 {
        let packet = 1 + text_bytes as u64;
        packet
            + match (self, packet) {
                (Self::Polling, _) => SEPARATOR_BYTES,
                (Self::WebSocket { .. }, 0..=125) => 2,
                (Self::WebSocket { .. }, 126..=65_535) => 4,
                (Self::WebSocket { .. }, _) => 10,
            }
    }
}

/// A reply that waits to be sent.
pub(super) struct HeldReply<'a> {
    engine_session: &'a EngineSession,
    bytes: usize,
}

impl Drop for HeldReply<'_> {
    fn drop(&mut self) {
        self.engine_session
            .held_bytes
            .fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The Engine.IO sessions of this instance by id. The references are weak: a session removes its own when it is
/// dropped.
#[derive(Default)]
pub struct EngineSessions {
    by_sid: Mutex<HashMap<Sid, Weak<EngineSession>>>,
}

impl EngineSessions {
    pub(super) fn find(&self, sid: Sid) -> Option<Arc<EngineSession>> {
        self.by_sid.lock().get(&sid).and_then(Weak::upgrade)
    }

    pub(super) fn all(&self) -> Vec<Arc<EngineSession>> {
        let by_sid = self.by_sid.lock();
        by_sid.values().filter_map(Weak::upgrade).collect()
    }
}
