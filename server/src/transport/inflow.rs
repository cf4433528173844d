//! What arrives on one connection once it is a WebSocket: how much of a message is there that has not arrived whole,
//! and whether that is too much. The libraries that read messages know no budget over all sockets.
//!
//! A WebSocket's first frame must be met at its first byte. The HTTP library hands on whatever it read behind the
//! request, past this connection, so a client that did not wait for the answer is refused: the library looks for
//! more, before it answers, only when it has nothing left; reading is held up from then on until it has answered.

use super::{
    arrivals::{Arriving, Standing},
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
    /// To be called at once, before the library looks for more than the request. None: it asks for something else.
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

    /// Whether the client sent more than the request; to be asked once it is being answered.
    pub(super) fn is_impatient(&self) -> bool {
        self.has_body || !self.connection.is_quiet()
    }
}

impl Drop for Upgrading {
    fn drop(&mut self) {
        self.connection.end_upgrade();
    }
}

/// Books are kept in steps of so many bytes.
const STEP_BYTES: usize = 1_024;

/// More arrived than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    /// There is no room at the moment.
    Full,
    /// One message is longer than it may be.
    TooLong,
}

/// What a read does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// It waits.
    Gated,
    /// It drops what comes.
    Overrun,
}

#[derive(Default)]
pub(super) struct Inflow {
    /// One of the constants below: read with every read.
    phase: AtomicU8,
    metered: Mutex<Metered>,
    overrun: CancellationToken,
}

const PLAIN: u8 = 0;
/// A request for a WebSocket came.
const ASKED: u8 = 1;
/// And nothing behind it.
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

    pub(super) fn state(&self) -> State {
        match self.phase.load(Ordering::Acquire) {
            ASKED => {
                self.phase.store(QUIET, Ordering::Release);
                State::Gated
            }
            QUIET => State::Gated,
            OVERRUN => State::Overrun,
            _ => State::Open,
        }
    }

    /// Takes note of what was read. `false`: it is too much, and not to be handed on.
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
        // It is there before the token is cancelled.
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
        if self.is_signed_in && arriving.standing() == Standing::Guest {
            arriving.sign_in().map_err(|_| Overrun::Full)?;
        }
        let bytes_max = arriving.standing().bytes_max();
        let followed = self.frames.follow(bytes, bytes_max);
        followed.map_err(|_| Overrun::TooLong)?;
        let unfinished = usize::try_from(self.frames.unfinished_bytes()).unwrap_or(usize::MAX);
        let held = unfinished.div_ceil(STEP_BYTES) * STEP_BYTES;
        arriving.hold(held).map_err(|_| Overrun::Full)
    }
}
