//! What was sent, and what became of it.

use roost_schema::{ErrorCode, RoomId};
use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unanswered,
    Acknowledged,
    /// For good, and as the sender meant it: such an operation must not be in the journal.
    Refused(String),
    /// For good, though the sender expected success.
    Unexpected(String),
}

/// Shared by every sender of a run.
pub(super) struct Ledger {
    writes: u64,
    rooms: Vec<RoomId>,
    /// The number of the next write; even ones go to the hot room.
    next: AtomicU64,
    unanswered: AtomicU64,
    acknowledged: AtomicU64,
    pub(super) retries: AtomicU64,
    operations: Mutex<HashMap<String, Outcome>>,
}

impl Ledger {
    pub(super) fn new(writes: u64, rooms: Vec<RoomId>) -> Self {
        Self {
            writes,
            rooms,
            next: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            operations: Mutex::default(),
        }
    }

    /// Leaves this many writes to others.
    pub(super) fn reserve(&self, writes: u64) {
        self.next.fetch_add(writes, SeqCst);
    }

    /// The room of the next write; `None` when all are under way.
    pub(super) fn take(&self) -> Option<RoomId> {
        let number = self.next.fetch_add(1, SeqCst);
        (number < self.writes).then(|| room_of(number, &self.rooms))
    }

    /// Whether one in `share` of all writes is under way or done.
    pub(super) fn has_sent_share(&self, share: u64) -> bool {
        self.next.load(SeqCst) >= self.writes / share
    }

    pub(super) fn begin(&self, operation: &str) {
        self.unanswered.fetch_add(1, SeqCst);
        self.note(operation, Outcome::Unanswered);
    }

    pub(super) fn end(&self, operation: &str, outcome: Outcome) {
        if outcome == Outcome::Acknowledged {
            self.acknowledged.fetch_add(1, SeqCst);
        }
        self.unanswered.fetch_sub(1, SeqCst);
        self.note(operation, outcome);
    }

    pub(super) fn note(&self, operation: &str, outcome: Outcome) {
        self.operations().insert(operation.to_owned(), outcome);
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(SeqCst)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(SeqCst)
    }

    pub(super) fn operations(&self) -> MutexGuard<'_, HashMap<String, Outcome>> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn room_of(number: u64, rooms: &[RoomId]) -> RoomId {
    let quiet = rooms.len() - 1;
    let index = match number % 2 {
        0 => 0,
        _ => 1 + usize::try_from(number / 2).unwrap_or(0) % quiet,
    };
    rooms[index]
}

/// Whether a refusal is what the sender provoked.
pub(super) fn refusal(code: ErrorCode, expected: bool) -> Outcome {
    let code = code.as_str().to_owned();
    if expected {
        Outcome::Refused(code)
    } else {
        Outcome::Unexpected(code)
    }
}
