//! What a writer answers besides "written": refusals, repeated operations, and what became of writes whose
//! outcome is unknown.

use super::{
    LiveError, Refusal, deliveries::DeliverySource, durable::Assigned, replica::Replica,
    retry::pause, write::PendingWrite,
};
use crate::store::journal::{Entry, JournalError};
use roost_schema::{OpId, UserId};
use std::{collections::HashMap, time::Duration};
use tokio::time::timeout;

/// How long the journal is asked what became of a batch, before the outcome counts as unknown.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Settles an append that ended without an answer: reads the journal to its head, and looks up what became of the
/// writes. Those that are there are acknowledged. The others wait for another round under the same operation ids:
/// should the earlier append still arrive, the indexes let in one of the two. Writes of which nothing is known in
/// time are answered so.
pub(super) async fn settle(
    replica: &mut Replica,
    assigned: Assigned,
    waiting: &mut Vec<PendingWrite>,
) {
    let mut writes = Vec::new();
    for (mut pending, slot) in assigned.into_slots() {
        pending.unsettle(slot);
        writes.push(pending);
    }
    let operations: Vec<_> = writes.iter().map(PendingWrite::operation).collect();
    let found = timeout(SETTLE_WAIT_MAX, find(replica, &operations)).await;
    let is_read = found.is_ok();
    let mut known = found.unwrap_or_default();
    let mut again = Vec::new();
    for mut pending in writes {
        if let Some(entry) = known.remove(&pending.operation()) {
            pending.reply_known(entry);
            continue;
        }
        if is_read {
            pending.settle_at(replica.head());
        }
        if pending.is_unsettled() && !(is_read && pending.may_be_sent_again()) {
            pending.reply(Err(LiveError::OutcomeUnknown));
        } else {
            again.push(pending);
        }
    }
    waiting.splice(0..0, again);
}

/// Reads the journal to its head, until the operations could be looked up. Delivers and announces what it reads.
async fn find(
    replica: &mut Replica,
    operations: &[(UserId, OpId)],
) -> HashMap<(UserId, OpId), Entry> {
    let mut failures = 0;
    loop {
        replica.note_unanswered_append();
        let found = match replica.catch_up(DeliverySource::Repair).await {
            Ok(()) => replica.look_up(operations).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(known) if known.values().all(|entry| entry.seq <= replica.head()) => {
                return known;
            }
            // An entry came between the two reads. It is delivered first, and acknowledged after that.
            Ok(_) => {}
            // The journal is damaged, and no second try reads it better. The caller's time runs out, and the
            // outcome stays unknown.
            Err(error) if error.is_lasting() => {
                replica.note_unread(&error);
                return std::future::pending().await;
            }
            Err(_) => failures += 1,
        }
        pause(failures).await;
    }
}

/// Answers refused writes. A refusal counts only at the journal's head, and only if its operation is not in the
/// journal: a retry of a write that succeeded is often refused by the state that it made itself. Gives back the
/// writes that are to be judged again because the head has moved.
pub(super) async fn answer_refused(
    replica: &Replica,
    refused: Vec<(PendingWrite, Refusal)>,
) -> Result<Vec<PendingWrite>, (Vec<PendingWrite>, JournalError)> {
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    let operations: Vec<_> = refused
        .iter()
        .map(|(pending, _)| pending.operation())
        .collect();
    let found = async {
        let known = replica.look_up(&operations).await?;
        Ok((known, replica.is_at_head().await?))
    };
    let (mut known, is_at_head) = match found.await {
        Ok(found) => found,
        Err(error) => {
            let writes = refused.into_iter().map(|(pending, _)| pending).collect();
            return Err((writes, error));
        }
    };
    let mut unanswered = Vec::new();
    for (mut pending, refusal) in refused {
        match known.remove(&pending.operation()) {
            Some(entry) => pending.reply_known(entry),
            None if is_at_head => {
                pending.settle_at(replica.head());
                pending.reply(Err(LiveError::Refused(refusal)));
            }
            None => unanswered.push(pending),
        }
    }
    Ok(unanswered)
}

/// Answers the waiting writes whose operations are in the journal already.
pub(super) async fn answer_repeated(
    replica: &Replica,
    waiting: &mut Vec<PendingWrite>,
) -> Result<(), JournalError> {
    let operations: Vec<_> = waiting.iter().map(PendingWrite::operation).collect();
    let mut known = replica.look_up(&operations).await?;
    let is_known = |pending: &mut PendingWrite| known.contains_key(&pending.operation());
    let repeated: Vec<_> = waiting.extract_if(.., is_known).collect();
    for pending in repeated {
        // The same operation may wait twice. The second write finds its entry in the next round.
        if let Some(entry) = known.get(&pending.operation()).cloned() {
            pending.reply_known(entry);
        }
    }
    known.clear();
    Ok(())
}
