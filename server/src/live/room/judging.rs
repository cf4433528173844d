//! How a batch of writes is judged before it is appended.

use super::{Refusal, durable::Assigned, view::RoomView, write::PendingWrite};
use crate::store::journal::Entry;
use chrono::{DateTime, Utc};
use std::collections::HashSet;

/// Bytes of bodies that go into the journal at once.
pub(super) const BATCH_BYTES_MAX: usize = 1_024 * 1_024;

/// What became of writes that were judged.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) assigned: Assigned,
    pub(super) refused: Vec<(PendingWrite, Refusal)>,
    /// Writes that were not judged. They wait for the outcome of this batch, or for the next one.
    pub(super) later: Vec<PendingWrite>,
}

/// Judges writes in order on a view, each on the state that those before it made. It stops before a write whose
/// judgement could depend on the rights that the batch changes. It waits for nothing and writes nothing: it changes
/// only the view's items, which are read anew if the batch is not committed.
pub(super) fn judge(view: &mut RoomView, waiting: Vec<PendingWrite>, at: DateTime<Utc>) -> Judged {
    let mut judged = Judged::default();
    let mut operations = HashSet::new();
    let mut seq = view.head;
    let mut bytes = 0;
    let mut waiting = waiting.into_iter();
    for pending in waiting.by_ref() {
        let is_repeat = !operations.insert(pending.operation());
        // A patch of a few bytes can make a large entry, so an append is bounded by the bytes of its entries.
        if is_repeat || judged.assigned.changes_rights() || bytes >= BATCH_BYTES_MAX {
            judged.later.push(pending);
            break;
        }
        match (pending.write.judge)(view) {
            // An entry of this batch, which is not committed yet, may be why the write is refused. It is judged again
            // after that.
            Err(_) if judged.assigned.touches(pending.write.item) => {
                judged.later.push(pending);
                break;
            }
            Err(refusal) => judged.refused.push((pending, refusal)),
            Ok(change) => {
                seq = seq.next();
                bytes += change.body.as_str().len();
                let born = view.item(change.item).map_or(seq, |known| known.born);
                let entry = Entry {
                    room: view.id(),
                    seq,
                    item: change.item,
                    kind: change.kind,
                    op: change.op,
                    body: change.body,
                    actor: pending.write.actor,
                    op_id: Some(pending.op_id.clone()),
                    request_hash: pending.write.request_hash,
                    asked_hash: Some(pending.write.asked_hash),
                    at,
                    born,
                    terms: change.terms,
                    current: true,
                };
                view.keep(&entry);
                judged.assigned.push(pending, entry);
            }
        }
    }
    judged.later.extend(waiting);
    judged
}
