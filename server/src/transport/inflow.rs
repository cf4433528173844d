//! Meters what arrives on a connection once it is a WebSocket: the bytes of a message that has not arrived whole, and
//! whether they are too many. The libraries that read messages have no budget over all sockets.
//!
//! Metering has to begin at the first byte of the first frame. The HTTP library hands bytes that it read behind the
//! request to the WebSocket, past this meter, so a client that sends before it has the answer is refused. The library
//! reads again before it answers only when its buffer is empty, and reads are held up from the request until it has
//! answered.

use super::{
    arrivals::{Arriving, Sender},
    frames::Frames,
    socketio::listener::ConnectionHandle,
};
use axum::http::{Request, header::UPGRADE};
use http_body::Body;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU8, Ordering};
use tokio_util::sync::CancellationToken;

/// A request for a WebSocket, until it is answered.
pub(super) struct Upgrading {
    connection: ConnectionHandle,
    has_body: bool,
}

impl Upgrading {
    /// Call it at once, before the library reads beyond the request. `None`: the request asks for no WebSocket.
    pub(super) fn begin<B: Body>(
        request: &Request<B>,
        connection: &ConnectionHandle,
    ) -> Option<Self> {
        let upgrade = request.headers().get(UPGRADE)?;
        if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
            return None;
        }
        let has_body = !request.body().is_end_stream();
        if !has_body {
            connection.await_upgrade();
        }
        Some(Self {
            connection: connection.clone(),
            has_body,
        })
    }

    /// Whether the client sent more than the request. Ask while the request is being answered.
    pub(super) fn is_impatient(&self) -> bool {
        self.has_body || !self.connection.is_quiet()
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        self.connection.end_upgrade();
    }
}

/// Bytes are counted in steps of this size.
const STEP_BYTES: usize = 1_024;

/// Why more arrived than the client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    /// The budget of the client's address, or of all, is used up at the moment.
    Full,
    /// One message is longer than it may be.
    TooLong,
}

/// What a read of the connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadState {
    Open,
    /// The read waits.
    Gated,
    /// The read drops the bytes.
    Overrun,
}

#[derive(Default)]
pub(super) struct Inflow {
    /// One of the constants below; every read loads it.
    phase: AtomicU8,
    metered: Mutex<Metered>,
    overrun: CancellationToken,
}

const PLAIN: u8 = 0;
/// A request for a WebSocket came.
const ASKED: u8 = 1;
/// And no byte behind it.
const QUIET: u8 = 2;
const METERED: u8 = 3;
const OVERRUN: u8 = 4;

#[derive(Default)]
struct Metered {
    frames: Frames,
    arriving: Option<Arriving>,
    is_signed_in: bool,
    overrun: Option<Overrun>,
}

impl Inflow {
    pub(super) fn await_upgrade(&self) {
        self.phase.store(ASKED, Ordering::Release);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.phase.load(Ordering::Acquire) == QUIET
    }

    pub(super) fn meter(&self, arriving: Arriving) {
        self.metered().arriving = Some(arriving);
    }

    pub(super) fn end_upgrade(&self) {
        let is_websocket = self.metered().arriving.is_some();
        let phase = if is_websocket { METERED } else { PLAIN };
        self.phase.store(phase, Ordering::Release);
    }

    pub(super) fn sign_in(&self) {
        self.metered().is_signed_in = true;
    }

    pub(super) fn state(&self) -> ReadState {
        match self.phase.load(Ordering::Acquire) {
            ASKED => {
                self.phase.store(QUIET, Ordering::Release);
                ReadState::Gated
            }
            QUIET => ReadState::Gated,
            OVERRUN => ReadState::Overrun,
            _ => ReadState::Open,
        }
    }

    /// Counts what was read. `false`: it is too much, and must not be handed on.
    pub(super) fn follow(&self, bytes: &[u8]) -> bool {
        if self.phase.load(Ordering::Acquire) != METERED {
            return true;
        }
        let mut metered = self.metered();
        let Err(overrun) = metered.follow(bytes) else {
            return true;
        };
        tracing::debug!(?overrun, "a WebSocket is closed");
        metered.overrun = Some(overrun);
        self.phase.store(OVERRUN, Ordering::Release);
        self.overrun.cancel();
        false
    }

    pub(super) async fn overrun(&self) -> Overrun {
        self.overrun.cancelled().await;
        // It is set before the token is cancelled.
        self.metered().overrun.unwrap_or(Overrun::Full)
    }

    fn metered(&self) -> MutexGuard<'_, Metered> {
        self.metered.lock()
    }
}

impl Metered {
    fn follow(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        let Some(arriving) = &mut self.arriving else {
            return Ok(());
        };
        if self.is_signed_in && arriving.sender() == Sender::Guest {
            arriving.sign_in().map_err(|_| Overrun::Full)?;
        }
        let bytes_max = arriving.sender().bytes_max();
        let followed = self.frames.follow(bytes, bytes_max);
        followed.map_err(|_| Overrun::TooLong)?;
        let unfinished = usize::try_from(self.frames.unfinished_bytes()).unwrap_or(usize::MAX);
        let held = unfinished.div_ceil(STEP_BYTES) * STEP_BYTES;
        arriving.hold(held).map_err(|_| Overrun::Full)
    }
}
