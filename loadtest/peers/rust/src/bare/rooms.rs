//! Rooms, and the sockets in them.

use super::faults::{Counters, add};
use parking_lot::{Mutex, RwLock};
use roost_schema::{RoomId, Seq};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_util::sync::CancellationToken;

/// How many frames may wait for one socket. One that reads more slowly than that is closed: to wait for it would slow the
/// room, and to leave frames out would look like a fault.
const OUTBOX_FRAMES: usize = 4_096;

/// All rooms that were ever joined.
#[derive(Default)]
pub(super) struct Rooms(RwLock<HashMap<RoomId, Arc<Room>>>);

/// The sockets in a room, and the seq of its newest message. What is told under the lock comes to all in one order.
#[derive(Default)]
pub(super) struct Room {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    members: Vec<Outbox>,
    seq: Seq,
}

/// The queue of frames to one socket.
#[derive(Clone)]
pub(super) struct Outbox {
    /// Names the socket within this process.
    pub(super) socket: u64,
    queue: mpsc::Sender<Frame>,
    /// Cancelled when the queue is full.
    pub(super) overrun: CancellationToken,
}

impl Rooms {
    pub(super) fn enter(&self, id: RoomId) -> Arc<Room> {
        if let Some(room) = self.find(id) {
            return room;
        }
        Arc::clone(self.0.write().entry(id).or_default())
    }

    pub(super) fn find(&self, id: RoomId) -> Option<Arc<Room>> {
        self.0.read().get(&id).cloned()
    }
}

impl Room {
    pub(super) fn join(&self, outbox: Outbox) {
        self.inside.lock().members.push(outbox);
    }

    pub(super) fn leave(&self, socket: u64) {
        self.inside
            .lock()
            .members
            .retain(|member| member.socket != socket);
    }

    /// Sends a frame to all but one.
    pub(super) fn tell_others(&self, frame: &Frame, sender: u64, counters: &Counters) {
        for member in &self.inside.lock().members {
            if member.socket != sender {
                member.send(frame, counters);
            }
        }
    }

    /// Sends to all what `make` makes of the next seq; gives what it gave besides.
    pub(super) fn tell_all<T, E>(
        &self,
        counters: &Counters,
        make: impl FnOnce(Seq) -> Result<(Frame, T), E>,
    ) -> Result<T, E> {
        let mut inside = self.inside.lock();
        let seq = inside.seq.next();
        let (frame, besides) = make(seq)?;
        inside.seq = seq;
        for member in &inside.members {
            member.send(&frame, counters);
        }
        Ok(besides)
    }
}

impl Outbox {
    /// An outbox, and the end that its connection reads.
    pub(super) fn new(socket: u64) -> (Self, mpsc::Receiver<Frame>) {
        let (queue, frames) = mpsc::channel(OUTBOX_FRAMES);
        let outbox = Self {
            socket,
            queue,
            overrun: CancellationToken::new(),
        };
        (outbox, frames)
    }

    /// Cloning a text frame copies no text.
    fn send(&self, frame: &Frame, counters: &Counters) {
        let is_full = matches!(
            self.queue.try_send(frame.clone()),
            Err(TrySendError::Full(_))
        );
        if is_full && !self.overrun.is_cancelled() {
            add(&counters.overrun, 1);
            self.overrun.cancel();
        }
    }
}
