//! One Engine.IO session as seen from its transport: what it was handed, what has left this process,
//! and its end. A session begins on polling, or on its own WebSocket, and may move from the first to
//! the second.

use super::listener::ConnectionHandle;
use crate::{
    live::Fence,
    transport::{inflow::Overrun, shares::One},
};
use parking_lot::Mutex;
use socketioxide::{SendError, SocketError, socket::Sid};
use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// In flight beyond either of these, a socket is lagging: it gets no frames until it is at half.
const LAGGING_PACKETS: usize = 96;
const LAGGING_BYTES: u64 = 1 << 20;

/// Replies and control events go on up to here; the rest of the engine's buffer stays for its pings.
const REPLY_PACKETS_MAX: usize = 120;
/// Bytes of replies that may wait for their turn. A client that asks for more and does not read is closed.
const HELD_BYTES_MAX: usize = 16 << 20;

/// How often one session may connect to the namespace. A stock client does so once; each time begins
/// a new budget of events, so more would escape it.
const CONNECTS_MAX: u32 = 3;

/// What a packet is, and so how much of the buffer it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The journal still has it, or nobody misses it.
    Frame,
    /// An acknowledgement, or the server's word about this socket.
    Reply,
}

/// Why a packet was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// Try again when something has moved.
    Full,
    /// Not in the namespace: not yet, or not any more.
    Outside,
    /// The socket has ended.
    Gone,
}

/// A session's transport.
pub(super) struct Wire {
    flow: Mutex<Flow>,
    moved: Arc<Notify>,
    ended: CancellationToken,
    wires: Weak<Wires>,
    fence: Fence,
    sid: OnceLock<Sid>,
    /// A place among the sessions that are not connected to the namespace yet.
    newcomer: Mutex<Option<One>>,
    _seat: OwnedSemaphorePermit,
    connects: AtomicU32,
    /// Of replies that wait to be handed over.
    held_bytes: AtomicUsize,
    /// Cancelled when the session of whoever is connected was revoked.
    session_end: Mutex<CancellationToken>,
}

struct Flow {
    link: Link,
    ledger: Ledger,
    /// Bytes taken by completed polls.
    polled_bytes: u64,
}

enum Link {
    Polling,
    WebSocket {
        connection: ConnectionHandle,
        /// What the connection had written when the session moved to it.
        written_before: u64,
    },
}

impl Wire {
    /// Holds a reply until it is handed over; none when too much is held already.
    pub(super) fn hold(&self, bytes: usize) -> Option<HeldReply<'_>> {
        let before = self.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        let held = HeldReply { wire: self, bytes };
        (before + bytes <= HELD_BYTES_MAX).then_some(held)
    }

    /// Counts one connect to the namespace; `false` when there were too many.
    pub(super) fn takes_connect(&self) -> bool {
        self.connects.fetch_add(1, Ordering::Relaxed) < CONNECTS_MAX
    }

    /// `connection`: the WebSocket's own; `None` for a session that polls. The two permits are its
    /// seat among all sessions and among those that are not connected yet.
    pub(super) fn open(
        wires: &Arc<Wires>,
        fence: Fence,
        connection: Option<ConnectionHandle>,
        seat: OwnedSemaphorePermit,
        newcomer: One,
    ) -> Arc<Self> {
        Arc::new(Self {
            flow: Mutex::new(Flow {
                link: connection.map_or(Link::Polling, Link::on),
                ledger: Ledger::default(),
                polled_bytes: 0,
            }),
            moved: Arc::default(),
            ended: CancellationToken::new(),
            wires: Arc::downgrade(wires),
            fence,
            sid: OnceLock::new(),
            newcomer: Mutex::new(Some(newcomer)),
            _seat: seat,
            connects: AtomicU32::new(0),
            held_bytes: AtomicUsize::new(0),
            session_end: Mutex::default(),
        })
    }

    /// Makes the session known by its id.
    pub(super) fn name(self: &Arc<Self>, sid: Sid) {
        if self.sid.set(sid).is_ok()
            && let Some(wires) = self.wires.upgrade()
        {
            wires.by_sid.lock().insert(sid, Arc::downgrade(self));
        }
    }

    /// Frames are for this session from now on, until it is revoked.
    pub(super) fn serve(&self, session_end: CancellationToken) {
        *self.session_end.lock() = session_end;
    }

    /// The session is connected to the namespace: no newcomer any more.
    pub(super) fn settle_in(&self) {
        self.newcomer.lock().take();
        if let Link::WebSocket { connection, .. } = &self.flow.lock().link {
            connection.sign_in();
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.newcomer.lock().is_none()
    }

    /// Moves a polling session to the connection of its WebSocket request. `false`: it had moved.
    pub(super) fn move_to(&self, connection: &ConnectionHandle) -> bool {
        let mut flow = self.flow.lock();
        if matches!(flow.link, Link::WebSocket { .. }) {
            return false;
        }
        flow.link = Link::on(connection.clone());
        drop(flow);
        if self.is_settled() {
            connection.sign_in();
        }
        self.moved.notify_waiters();
        true
    }

    /// A poll was answered in full with this many bytes.
    pub(super) fn polled(&self, bytes: u64) {
        // The first packet of an answer has no separator before it; every packet counts one.
        self.flow.lock().polled_bytes += bytes + SEPARATOR_BYTES;
        self.moved.notify_waiters();
    }

    /// Hands a packet of `text_bytes` over, unless its class is full. The packet is on the books
    /// before it is sent: written first and counted later, it would stay in flight for ever.
    pub(super) fn hand(
        &self,
        class: Class,
        text_bytes: usize,
        send: impl FnOnce() -> Result<(), SendError>,
    ) -> Result<(), NotSent> {
        if self.has_ended() {
            return Err(NotSent::Gone);
        }
        if class == Class::Frame {
            if self.fence.is_shut() {
                return Err(NotSent::Full);
            }
            // Known before the fence opens: what waited behind it is not for whoever was signed out.
            if self.session_end.lock().is_cancelled() {
                return Err(NotSent::Gone);
            }
        }
        let mut flow = self.flow.lock();
        let bytes = flow.link.wire_bytes(text_bytes);
        let ledger = flow.settle();
        if !ledger.admits(class) {
            return Err(NotSent::Full);
        }
        ledger.hand(bytes);
        send().map_err(|error| {
            ledger.take_back(bytes);
            match error {
                SendError::Socket(SocketError::InternalChannelFull) => NotSent::Full,
                SendError::Socket(SocketError::Closed) => NotSent::Outside,
                SendError::Serialize(_) => NotSent::Gone,
            }
        })
    }

    pub(super) fn admits(&self, class: Class) -> bool {
        self.flow.lock().settle().admits(class)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.flow.lock().settle().packets() == 0
    }

    /// Resolves when something left this process after this call.
    pub(super) fn next_move(&self) -> impl Future<Output = ()> + Send + use<> {
        let moved = Arc::clone(&self.moved).notified_owned();
        let written = match &self.flow.lock().link {
            Link::Polling => None,
            Link::WebSocket { connection, .. } => Some(connection.next_write()),
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

    /// Resolves when more arrives on its WebSocket than may.
    pub(super) async fn overrun(&self) -> Overrun {
        loop {
            let moved = Arc::clone(&self.moved).notified_owned();
            let connection = match &self.flow.lock().link {
                Link::Polling => None,
                Link::WebSocket { connection, .. } => Some(connection.clone()),
            };
            match connection {
                None => moved.await,
                Some(connection) => return connection.overrun().await,
            }
        }
    }

    /// Ends the session: a WebSocket's connection is closed, a polling session's id is refused. The
    /// connection of a polling request is left alone: behind a proxy it serves other people too.
    pub(super) fn cut(&self) {
        self.ended.cancel();
        if let Link::WebSocket { connection, .. } = &self.flow.lock().link {
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

/// The engine's session, which holds its wire, is gone.
impl Drop for Wire {
    fn drop(&mut self) {
        if let (Some(sid), Some(wires)) = (self.sid.get(), self.wires.upgrade()) {
            wires.by_sid.lock().remove(sid);
        }
    }
}

impl Flow {
    fn settle(&mut self) -> &mut Ledger {
        let written = match &self.link {
            Link::Polling => 0,
            Link::WebSocket {
                connection,
                written_before,
            } => connection.written_bytes().saturating_sub(*written_before),
        };
        self.ledger.settle(self.polled_bytes + written);
        &mut self.ledger
    }
}

/// Between two packets in the answer to a poll.
const SEPARATOR_BYTES: u64 = 1;

impl Link {
    fn on(connection: ConnectionHandle) -> Self {
        Self::WebSocket {
            written_before: connection.written_bytes(),
            connection,
        }
    }

    /// What a Socket.IO packet costs with the engine's type digit and its frame (RFC 6455 §5.2; the
    /// server does not mask).
    fn wire_bytes(&self, text_bytes: usize) -> u64 {
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

/// A reply that waits to be handed over.
pub(super) struct HeldReply<'a> {
    wire: &'a Wire,
    bytes: usize,
}

impl Drop for HeldReply<'_> {
    fn drop(&mut self) {
        self.wire.held_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What was handed over and has not left yet.
#[derive(Default)]
struct Ledger {
    handed_bytes: u64,
    left_bytes: u64,
    /// Where each packet in flight ends, counted in bytes handed.
    ends: VecDeque<u64>,
    is_lagging: bool,
}

impl Ledger {
    fn hand(&mut self, bytes: u64) {
        self.handed_bytes += bytes;
        self.ends.push_back(self.handed_bytes);
        self.is_lagging |= self.packets() >= LAGGING_PACKETS || self.bytes() >= LAGGING_BYTES;
    }

    fn take_back(&mut self, bytes: u64) {
        self.ends.pop_back();
        self.handed_bytes -= bytes;
    }

    /// Takes note of all bytes that have left so far.
    fn settle(&mut self, left_bytes: u64) {
        self.left_bytes = self.left_bytes.max(left_bytes);
        while self.ends.front().is_some_and(|end| *end <= self.left_bytes) {
            self.ends.pop_front();
        }
        // The engine writes things of its own (pings, the handshake). Whenever nothing is in flight
        // the books start from what was really written, so that this cannot add up.
        if self.ends.is_empty() {
            self.handed_bytes = self.left_bytes;
        }
        if self.packets() <= LAGGING_PACKETS / 2 && self.bytes() <= LAGGING_BYTES / 2 {
            self.is_lagging = false;
        }
    }

    fn admits(&self, class: Class) -> bool {
        match class {
            Class::Frame => !self.is_lagging,
            Class::Reply => self.packets() < REPLY_PACKETS_MAX,
        }
    }

    fn packets(&self) -> usize {
        self.ends.len()
    }

    fn bytes(&self) -> u64 {
        self.handed_bytes.saturating_sub(self.left_bytes)
    }
}

/// The sessions of this instance by id. It holds none of them: an entry goes with its session.
#[derive(Default)]
pub struct Wires {
    by_sid: Mutex<HashMap<Sid, Weak<Wire>>>,
}

impl Wires {
    pub(super) fn find(&self, sid: Sid) -> Option<Arc<Wire>> {
        self.by_sid.lock().get(&sid).and_then(Weak::upgrade)
    }

    pub(super) fn all(&self) -> Vec<Arc<Wire>> {
        let by_sid = self.by_sid.lock();
        by_sid.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lags_from_the_bound_until_half_of_it() {
        let mut ledger = Ledger::default();
        for _ in 0..LAGGING_PACKETS {
            assert!(ledger.admits(Class::Frame));
            ledger.hand(10);
        }
        assert!(!ledger.admits(Class::Frame));
        assert!(ledger.admits(Class::Reply));
        ledger.settle(470);
        assert!(!ledger.admits(Class::Frame), "49 are in flight");
        ledger.settle(480);
        assert!(ledger.admits(Class::Frame), "48 are in flight");

        ledger.settle(960);
        ledger.hand(LAGGING_BYTES);
        assert!(!ledger.admits(Class::Frame), "one large packet is enough");
        ledger.settle(960 + LAGGING_BYTES / 2);
        assert!(ledger.admits(Class::Frame));
    }

    #[test]
    fn what_the_engine_writes_by_itself_does_not_add_up() {
        let mut ledger = Ledger::default();
        let mut left = 0;
        for _ in 0..1_000 {
            left += 3;
            ledger.settle(left);
            ledger.hand(100);
            assert_eq!((ledger.packets(), ledger.bytes()), (1, 100));
            left += 100;
            ledger.settle(left);
            assert_eq!((ledger.packets(), ledger.bytes()), (0, 0));
        }
    }

    #[test]
    fn a_packet_that_was_not_taken_is_not_in_flight() {
        let mut ledger = Ledger::default();
        ledger.hand(7);
        ledger.hand(100);
        ledger.take_back(100);
        assert_eq!((ledger.packets(), ledger.bytes()), (1, 7));
        ledger.settle(7);
        assert_eq!((ledger.packets(), ledger.bytes()), (0, 0));
    }
}
