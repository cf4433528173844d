//! A write on its way into a room's journal, and its answer.

use super::{LiveError, Refusal, RoomView};
use crate::store::journal::{Entry, RequestHash};
use roost_schema::{Body, ErrorCode, ItemId, Kind, Op, OpId, Seq, UserId};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

/// How often a write is sent, each time without an answer, before it is given up.
const SENDS_UNANSWERED_MAX: u32 = 2;

/// What a write does once it is judged good.
#[derive(Clone, Debug)]
pub struct Change {
    pub item: ItemId,
    pub kind: Kind,
    pub op: Op,
    pub body: Body,
}

/// Judges a write by the room's state at the head it would follow; called again after a lost race.
pub type Judge = Box<dyn Fn(&RoomView) -> Result<Change, Refusal> + Send + Sync>;

/// A write on its way into the journal.
pub struct Write {
    pub actor: UserId,
    /// Chosen by the client; absent: one is made, and the write cannot be retried safely.
    pub op_id: Option<OpId>,
    pub request_hash: RequestHash,
    /// The item the judge looks at.
    pub item: ItemId,
    /// The item's id was made for this write: nothing needs to be read to know that it is new.
    pub is_new: bool,
    /// What the write holds in memory until it is answered.
    pub bytes: usize,
    pub judge: Judge,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The entry it made; for a retry, the entry of the first time.
    pub entry: Entry,
    pub is_retry: bool,
}

/// A queued write with the way to its answer; it gives its memory budgets back when it is dropped.
pub(super) struct Mail {
    pub(super) write: Write,
    pub(super) op_id: OpId,
    answer: oneshot::Sender<Result<Written, LiveError>>,
    pub(super) queued_at: Instant,
    /// It was sent to the journal, and nothing says yet that it is not there.
    unsettled: Option<Unsettled>,
    _budgets: [OwnedSemaphorePermit; 2],
}

/// A write whose append ended without an answer.
#[derive(Clone, Copy)]
struct Unsettled {
    /// What it asked for: once another entry is there, it can no longer come into the journal.
    slot: Seq,
    /// How often that happened to it.
    times: u32,
}

impl Mail {
    pub(super) fn new(
        write: Write,
        budgets: [OwnedSemaphorePermit; 2],
    ) -> (Self, oneshot::Receiver<Result<Written, LiveError>>) {
        let (answer, receiver) = oneshot::channel();
        let made = || OpId::reserved(format_args!("made.{}", uuid::Uuid::now_v7()));
        let mail = Self {
            op_id: write.op_id.clone().unwrap_or_else(made),
            write,
            answer,
            queued_at: Instant::now(),
            unsettled: None,
            _budgets: budgets,
        };
        (mail, receiver)
    }

    pub(super) fn operation(&self) -> (UserId, OpId) {
        (self.write.actor, self.op_id.clone())
    }

    /// Notes that an append into this slot has ended without an answer.
    pub(super) fn unsettle(&mut self, slot: Seq) {
        let times = self.unsettled.map_or(1, |before| before.times + 1);
        self.unsettled = Some(Unsettled { slot, times });
    }

    pub(super) fn may_be_sent_again(&self) -> bool {
        let times = self.unsettled.map_or(0, |sent| sent.times);
        times < SENDS_UNANSWERED_MAX
    }

    pub(super) const fn is_unsettled(&self) -> bool {
        self.unsettled.is_some()
    }

    /// It was looked up at this head and is not there. If its slot is another's, it never will be.
    pub(super) fn settle_at(&mut self, head: Seq) {
        self.unsettled.take_if(|sent| sent.slot <= head);
    }

    /// A write that may be in the journal gets no answer that says it is not.
    pub(super) fn answer(self, answer: Result<Written, LiveError>) {
        let answer = match answer {
            Err(_) if self.is_unsettled() => Err(LiveError::OutcomeUnknown),
            answer => answer,
        };
        // A writer that stopped waiting has no use for the answer.
        let _ = self.answer.send(answer);
    }

    /// Answers a write whose operation is in the journal already.
    pub(super) fn answer_known(mut self, entry: Entry) {
        let was_sent = self.unsettled.take().is_some();
        let answer = if entry.request_hash == self.write.request_hash {
            Ok(Written {
                entry,
                is_retry: !was_sent,
            })
        } else {
            Err(LiveError::Refused(OP_ID_REUSED))
        };
        self.answer(answer);
    }
}

const OP_ID_REUSED: Refusal = Refusal {
    code: ErrorCode::OpIdReused,
    sentence: "this operation id was used with another request before",
};
