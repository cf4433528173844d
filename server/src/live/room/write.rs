//! A write on its way into a room's journal, and its answer.

use super::{LiveError, Refusal, RoomView};
use crate::store::journal::{Entry, RequestHash, Terms};
use roost_schema::{Body, ErrorCode, ItemId, Kind, Op, OpId, Seq, UserId};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
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
    /// What the item is found by from then on.
    pub terms: Terms,
}

/// Judges a write by the room's state at the head it would follow; called again after a lost race.
pub type Judge = Box<dyn Fn(&RoomView) -> Result<Change, Refusal> + Send + Sync>;

/// A write on its way into the journal.
pub struct Write {
    pub actor: UserId,
    /// Chosen by the client; absent: one is made, and the write cannot be retried safely.
    pub op_id: Option<OpId>,
    /// What was asked, by the route it came on.
    pub request_hash: RequestHash,
    /// What was asked, whatever route it came on.
    pub asked_hash: RequestHash,
    /// For an event of the outbox, whose operation id names it for good: its kind and op. An entry of the same item, kind
    /// and op is the event, however another release has written its body.
    pub event: Option<(Kind, Op)>,
    /// The item the judge looks at.
    pub item: ItemId,
    /// The item's id was made for this write: nothing needs to be read to know that it is new.
    pub is_new: bool,
    /// What the write holds in memory until it is answered.
    pub bytes: usize,
    pub judge: Judge,
}

impl Write {
    /// Whether the entry under this write's operation id is of the same request. An earlier release kept only the hash
    /// of the same route.
    fn is_asked_by(&self, entry: &Entry) -> bool {
        if let Some((kind, op)) = &self.event {
            return (self.item, kind, op) == (entry.item, &entry.kind, &entry.op);
        }
        match entry.asked_hash {
            Some(asked) => asked == self.asked_hash,
            None => entry.request_hash == self.request_hash,
        }
    }
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The entry it made; for a retry, the entry of the first time.
    pub entry: Entry,
    pub is_retry: bool,
}

/// A write that has its place in a room's queue, in the order of the calls. Awaiting it gives the answer; when it is
/// dropped, the write goes on all the same.
#[must_use = "nothing else tells what became of the write"]
pub struct QueuedWrite(Result<oneshot::Receiver<Result<Written, LiveError>>, Option<LiveError>>);

impl QueuedWrite {
    /// Errors: why the write has no place in the queue.
    pub(super) fn new(
        queued: Result<oneshot::Receiver<Result<Written, LiveError>>, LiveError>,
    ) -> Self {
        Self(queued.map_err(Some))
    }
}

impl Future for QueuedWrite {
    type Output = Result<Written, LiveError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // A writer that drops a write has panicked: whether the write was appended is unknown.
            Ok(answer) => Pin::new(answer)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(LiveError::OutcomeUnknown))),
            Err(refusal) => Poll::Ready(Err(refusal.take().unwrap_or(LiveError::OutcomeUnknown))),
        }
    }
}

/// A queued write with the way to its answer; it gives its memory budgets back when it is dropped.
pub(in crate::live) struct PendingWrite {
    pub(super) write: Write,
    pub(super) op_id: OpId,
    answer: oneshot::Sender<Result<Written, LiveError>>,
    pub(super) queued_at: Instant,
    /// Set when the write was sent to the journal and may be there.
    unsettled: Option<Unsettled>,
    _budgets: [OwnedSemaphorePermit; 2],
}

/// A write whose append ended without an answer.
#[derive(Clone, Copy)]
struct Unsettled {
    /// The slot that the append asked for. Once another entry has it, the write can no longer get into the journal.
    slot: Seq,
    /// How many of its appends ended without an answer.
    times: u32,
}

impl PendingWrite {
    pub(super) fn new(
        write: Write,
        budgets: [OwnedSemaphorePermit; 2],
    ) -> (Self, oneshot::Receiver<Result<Written, LiveError>>) {
        let (answer, receiver) = oneshot::channel();
        let made = || OpId::reserved(format_args!("made.{}", uuid::Uuid::now_v7()));
        let pending = Self {
            op_id: write.op_id.clone().unwrap_or_else(made),
            write,
            answer,
            queued_at: Instant::now(),
            unsettled: None,
            _budgets: budgets,
        };
        (pending, receiver)
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

    /// Notes that the write was looked up at this head and is not there. If another entry has its slot, it never will
    /// be.
    pub(super) fn settle_at(&mut self, head: Seq) {
        self.unsettled.take_if(|sent| sent.slot <= head);
    }

    /// Answers a write. One that may be in the journal gets no answer that says it is not.
    pub(super) fn reply(self, answer: Result<Written, LiveError>) {
        let answer = match answer {
            Err(_) if self.is_unsettled() => Err(LiveError::OutcomeUnknown),
            answer => answer,
        };
        // A caller that stopped waiting has no use for the answer.
        let _ = self.answer.send(answer);
    }

    /// Answers a write whose operation is in the journal already.
    pub(super) fn reply_known(mut self, entry: Entry) {
        let was_sent = self.unsettled.take().is_some();
        let answer = if self.write.is_asked_by(&entry) {
            Ok(Written {
                entry,
                is_retry: !was_sent,
            })
        } else {
            Err(LiveError::Refused(OP_ID_REUSED))
        };
        self.reply(answer);
    }
}

const OP_ID_REUSED: Refusal = Refusal {
    code: ErrorCode::OpIdReused,
    sentence: "this operation id was used with another request before",
};
