//! The writes of a run, and their outcomes.

use super::people::Plan;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{ErrorCode, RoomId};
use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How often a writer checks whether its turn has come.
const TURN_POLL: Duration = Duration::from_millis(5);
/// How long each writer pauses between two writes while the pace is held; the longer pause applies once only
/// `HELD_LEFT` of the writes are left.
const HELD_PAUSE: Duration = Duration::from_secs(4);
const HELD_LEFT: f64 = 0.1;
const HELD_LEFT_PAUSE: Duration = Duration::from_secs(20);
/// How far sole writers may be ahead of the others, as a share of their own writes.
const AHEAD_MAX: f64 = 0.02;

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Unanswered,
    Acknowledged,
    /// A final refusal that the sender provoked: such an operation must not be in the journal.
    Refused(String),
    /// A final refusal of an operation that should have succeeded.
    Unexpected(String),
}

/// The state that every sender of a run shares.
pub(super) struct Ledger {
    plan: Plan,
    /// Writes that other processes make.
    reserved: u64,
    rooms: Vec<RoomId>,
    /// The time of the first write.
    started: OnceLock<Instant>,
    /// The number of the next write; even ones go to the hot room.
    next: AtomicU64,
    /// The same for writers that are alone in their room.
    next_sole: AtomicU64,
    /// A fault that the last writes are saved for is in progress.
    is_held: AtomicBool,
    /// Writers do not wait for their turns.
    is_rushed: AtomicBool,
    unanswered: AtomicU64,
    acknowledged: AtomicU64,
    pub(super) retries: AtomicU64,
    operations: Mutex<HashMap<String, Outcome>>,
}

impl Ledger {
    pub(super) fn new(plan: Plan, reserved: u64, rooms: Vec<RoomId>) -> Self {
        Self {
            plan,
            reserved,
            rooms,
            started: OnceLock::new(),
            next: AtomicU64::new(reserved),
            next_sole: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            is_rushed: AtomicBool::new(false),
            unanswered: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            operations: Mutex::default(),
        }
    }

    /// Waits for the turn of the next write and answers its room; `None` when all writes are taken.
    pub(super) async fn take(&self) -> Option<RoomId> {
        let number = self.next.fetch_add(1, SeqCst);
        if number >= self.plan.writes {
            return None;
        }
        let begun = part(number - self.reserved, self.plan.writes - self.reserved);
        while self.is_early(begun) {
            sleep(TURN_POLL).await;
        }
        self.wait_while_held(begun).await;
        Some(room_of(number, &self.rooms))
    }

    /// Whether a write still has to wait, so that the run takes at least `spread`.
    fn is_early(&self, begun: f64) -> bool {
        self.elapsed() < self.plan.spread.mul_f64(begun) && !self.is_rushed.load(SeqCst)
    }

    /// Lets all writers skip or keep their turns, so that enough writes are in flight at a kill.
    pub(super) fn rush(&self, is_rushed: bool) {
        self.is_rushed.store(is_rushed, SeqCst);
    }

    fn elapsed(&self) -> Duration {
        self.started.get_or_init(Instant::now).elapsed()
    }

    /// Slows all writers down, so that writes are left for later, until `release`.
    pub(super) fn hold(&self) {
        self.is_held.store(true, SeqCst);
    }

    pub(super) fn release(&self) {
        self.is_held.store(false, SeqCst);
    }

    async fn wait_while_held(&self, begun: f64) {
        let is_short = begun > 1.0 - HELD_LEFT;
        let pause = if is_short {
            HELD_LEFT_PAUSE
        } else {
            HELD_PAUSE
        };
        let since = Instant::now();
        while self.is_held.load(SeqCst) && since.elapsed() < pause {
            sleep(TURN_POLL).await;
        }
    }

    /// Waits for the turn of the next write in a sole writer's room; false when all writes are taken.
    pub(super) async fn take_sole(&self) -> bool {
        let number = self.next_sole.fetch_add(1, SeqCst);
        if number >= self.plan.sole_writes {
            return false;
        }
        let begun = part(number, self.plan.sole_writes);
        let others = || part(self.next.load(SeqCst), self.plan.writes);
        while self.is_early(begun) || begun > others() + AHEAD_MAX {
            sleep(TURN_POLL).await;
        }
        self.wait_while_held(begun).await;
        true
    }

    /// Whether one in `share` of all writes was begun.
    pub(super) fn has_sent_share(&self, share: u64) -> bool {
        self.next.load(SeqCst) >= self.plan.writes / share
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
        self.operations.lock()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of some thousands")]
fn part(number: u64, of: u64) -> f64 {
    number as f64 / of.max(1) as f64
}

fn room_of(number: u64, rooms: &[RoomId]) -> RoomId {
    let quiet = rooms.len() - 1;
    let index = match number % 2 {
        0 => 0,
        _ => 1 + usize::try_from(number / 2).unwrap_or(0) % quiet,
    };
    rooms[index]
}

/// Whether a refusal is the one that the sender provoked.
pub(super) fn refusal(code: ErrorCode, expected: bool) -> Outcome {
    let code = code.as_str().to_owned();
    if expected {
        Outcome::Refused(code)
    } else {
        Outcome::Unexpected(code)
    }
}
