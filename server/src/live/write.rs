//! A write on its way into a room's journal, and its answer.

use super::{LiveError, Refusal, RoomView};
use crate::store::journal::{Entry, RequestHash};
use roost_schema::{Body, ErrorCode, ItemId, Kind, Op, OpId, UserId};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

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
    _budgets: [OwnedSemaphorePermit; 2],
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
            _budgets: budgets,
        };
        (mail, receiver)
    }

    pub(super) fn operation(&self) -> (UserId, OpId) {
        (self.write.actor, self.op_id.clone())
    }

    pub(super) fn answer(self, answer: Result<Written, LiveError>) {
        // A writer that stopped waiting has no use for the answer.
        let _ = self.answer.send(answer);
    }

    /// Answers a write whose operation is in the journal already.
    pub(super) fn answer_known(self, entry: Entry) {
        let answer = if entry.request_hash == self.write.request_hash {
            Ok(Written {
                entry,
                is_retry: true,
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
