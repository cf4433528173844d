//! A batch: changes of items of one room that are queued together, judged in their order, and answered one by one.

use crate::{
    app::{Actor, App, Error, Queued, Result},
    store::journal::Entry,
};
use futures::future::{JoinAll, join_all};
use roost_schema::{
    BATCH_OPS_MAX, BatchItems, BatchOutcome, DeleteItem, ItemId, ItemOp, ItemOutcome, OpId,
    PatchItem, PutItem, RestoreItem, RoomId, Seq,
};

/// A batch in the queue of its room; see [`Queued`].
#[must_use = "nothing else returns the outcome of the changes"]
pub struct QueuedBatch(Result<JoinAll<Queued<Changed>>>);

/// The seq of a change. Its entry is dropped at once, so that a batch does not hold the entries of all its changes.
struct Changed {
    item: ItemId,
    seq: Seq,
}

impl From<Entry> for Changed {
    fn from(entry: Entry) -> Self {
        Self {
            item: entry.item,
            seq: entry.seq,
        }
    }
}

impl App {
    /// Queues the changes in their order. Each is done or refused by itself.
    pub fn batch_items(&self, actor: &Actor, input: BatchItems) -> QueuedBatch {
        QueuedBatch(parts(input).map(|parts| {
            let queued = parts.into_iter().map(|part| self.change_item(actor, part));
            join_all(queued)
        }))
    }

    fn change_item(&self, actor: &Actor, (room, op_id, op): Part) -> Queued<Changed> {
        match op {
            ItemOp::Put {
                kind,
                item,
                body,
                if_match,
            } => self.put_item(
                actor,
                PutItem {
                    room,
                    kind,
                    item,
                    body,
                    op_id,
                    if_match,
                },
            ),
            ItemOp::Patch {
                kind,
                item,
                body,
                if_match,
            } => self.patch_item(
                actor,
                PatchItem {
                    room,
                    kind,
                    item,
                    body,
                    op_id,
                    if_match,
                },
            ),
            ItemOp::Delete { item, if_match } => self.delete_item(
                actor,
                DeleteItem {
                    room,
                    item,
                    op_id,
                    if_match,
                },
            ),
            ItemOp::Restore { kind, item, body } => self.restore_item(
                actor,
                RestoreItem {
                    room,
                    kind,
                    item,
                    body,
                    op_id,
                },
            ),
        }
    }
}

impl QueuedBatch {
    /// Waits for the outcome of each change. An error: no change was queued.
    pub async fn outcome(self) -> Result<BatchOutcome> {
        let outcome = |done: Result<Changed>| match done {
            Ok(changed) => ItemOutcome {
                item: Some(changed.item),
                seq: Some(changed.seq),
                error: None,
            },
            Err(error) => ItemOutcome {
                error: Some(error.report()),
                ..ItemOutcome::default()
            },
        };
        let done = self.0?.await;
        Ok(BatchOutcome {
            outcomes: done.into_iter().map(outcome).collect(),
        })
    }
}

/// One change, with an operation id of its own.
type Part = (RoomId, Option<OpId>, ItemOp);

fn parts(input: BatchItems) -> Result<Vec<Part>> {
    if input.ops.is_empty() || input.ops.len() > BATCH_OPS_MAX {
        return Err(Error::Invalid {
            field: "ops",
            problem: "must be 1 to 200 changes",
        });
    }
    // A change that comes alone is the same operation as its own command, whichever route repeats it.
    if input.ops.len() == 1 {
        let part = |op| (input.room, input.op_id.clone(), op);
        return Ok(input.ops.into_iter().map(part).collect());
    }
    if input
        .op_id
        .as_ref()
        .is_some_and(|op_id| op_id.as_str().len() > OP_ID_CHARS_MAX)
    {
        return Err(LONG_OP_ID);
    }
    let part = |(number, op)| {
        let op_id = input.op_id.as_ref().map(|op_id| numbered(op_id, number));
        Ok((input.room, op_id.transpose()?, op))
    };
    input.ops.into_iter().enumerate().map(part).collect()
}

fn numbered(op_id: &OpId, number: usize) -> Result<OpId> {
    format!("{op_id}:{number}").parse().map_err(|_| LONG_OP_ID)
}

/// An operation id of this length is still valid with a change's number behind it.
const OP_ID_CHARS_MAX: usize = 60;

const LONG_OP_ID: Error = Error::Invalid {
    field: "opId",
    problem: "is at most 60 characters for more than one change",
};
