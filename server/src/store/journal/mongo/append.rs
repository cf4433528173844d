//! Appends a batch: read the slots, insert in order, clear superseded entries.

use super::{
    Failure, MongoJournal, document, document::uuid, durable, unavailable, within, within_deadline,
};
use crate::store::journal::{
    Appended, Entry, Gate, JournalError, Result, Stop,
    encoding::{signed, unsound},
    gate::{self, STATEMENT_MAX},
};
use bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use roost_schema::{ItemId, RoomId, Seq};
use std::collections::BTreeMap;

/// How the driver's error begins when it never had a connection to send on.
const NOT_CHECKED_OUT: &str = "Connection pool for ";
const DUPLICATE_KEY: i32 = 11_000;
const UNAUTHORIZED: i32 = 13;

pub(super) async fn append(
    journal: &MongoJournal,
    room: RoomId,
    batch: &[Entry],
    gate: &dyn Gate,
) -> Result<Appended> {
    let Some(first) = batch.first() else {
        return Ok(Appended::all(batch));
    };
    if !is_next(journal, room, first.seq).await? {
        let stop = Some(Stop::SlotTaken);
        return Ok(Appended { committed: 0, stop });
    }
    // The longest sequence that follows: the driver's server selection, and the insert until its deadline.
    gate::pass(gate, STATEMENT_MAX)?;
    let documents: Vec<_> = batch.iter().map(document::document).collect();
    let insert = async { journal.entries.insert_many(documents).ordered(true).await };
    let appended = match within(STATEMENT_MAX, insert).await {
        Ok(_) => Appended::all(batch),
        Err(failure) => committed_prefix(failure)?,
    };
    let committed = batch.get(..appended.committed).unwrap_or(batch);
    if let Some(last) = committed.last() {
        journal.known.insert(room, last.seq);
    }
    if let Err(error) = clear_older(journal, room, committed).await {
        // The entries are durable; readers tolerate two current ones until the item's next write.
        tracing::warn!(room.id = %room, %error, "older journal entries stay marked current");
    }
    Ok(appended)
}

/// Whether the slot before `seq` is taken and the slot of `seq` is free. One majority read looks up both, so that no
/// entry follows one that a fail-over rolls back.
async fn is_next(journal: &MongoJournal, room: RoomId, seq: Seq) -> Result<bool> {
    let before = seq.0.saturating_sub(1);
    let filter = doc! {
        "room": uuid(room.as_uuid()),
        "seq": { "$gte": signed(before.max(1)), "$lte": signed(seq.0) },
    };
    let newest = async {
        let newest = journal.entries.find_one(filter).sort(doc! { "seq": -1 });
        newest.projection(doc! { "_id": 0, "seq": 1 }).await
    };
    let newest = within_deadline(newest).await.map_err(unavailable)?;
    let newest = newest.map_or(Ok(0), |found| found.get_i64("seq"));
    Ok(newest.map_err(unsound)? == signed(before))
}

/// The entries that a refused insert has committed: those before the refused one, if a majority has them.
fn committed_prefix(failure: Failure) -> Result<Appended> {
    if let Failure::Driver(error) = &failure
        && let ErrorKind::InsertMany(refused) = &*error.kind
        && refused.write_concern_error.is_none()
        && let Some([first]) = refused.write_errors.as_deref()
        && let Some(stop) = stop(first.code, &first.message, first.details.as_ref())
    {
        let (committed, stop) = (first.index, Some(stop));
        return Ok(Appended { committed, stop });
    }
    Err(failed_write(failure))
}

/// Whether a failed write wrote nothing: no server was found, or it refused the connection. All other failures have an
/// unknown outcome. When the driver clears its pool, callers that wait for a connection and callers that wait for an
/// answer get the same kind of error; only its message differs.
pub(super) fn failed_write(failure: Failure) -> JournalError {
    let wrote_nothing = match &failure {
        Failure::Driver(error) => match &*error.kind {
            ErrorKind::ConnectionPoolCleared { message, .. } => {
                message.starts_with(NOT_CHECKED_OUT)
            }
            ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Authentication { .. }
            | ErrorKind::InvalidArgument { .. } => true,
            ErrorKind::Command(refusal) => refusal.code == UNAUTHORIZED,
            _ => false,
        },
        Failure::Deadline(_) => false,
    };
    if wrote_nothing {
        JournalError::Unavailable(failure.into())
    } else {
        JournalError::OutcomeUnknown(failure.into())
    }
}

/// Whether a one-document write failed because the document existed.
pub(super) fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error))
        if error.code == DUPLICATE_KEY)
}

/// The unique index that refused, by its name in the message or its keys in the details.
fn stop(code: i32, message: &str, details: Option<&Document>) -> Option<Stop> {
    if code != DUPLICATE_KEY {
        return None;
    }
    let keys = details.and_then(|details| details.get_document("keyPattern").ok());
    let is_on = |name: &str, key: &str| {
        message.contains(&format!("index: {name} "))
            || keys.is_some_and(|keys| keys.contains_key(key))
    };
    if is_on("journal_operation", "operation") {
        Some(Stop::OperationKnown)
    } else if is_on("journal_slot", "seq") || is_on("_id_", "_id") {
        Some(Stop::SlotTaken)
    } else {
        None
    }
}

async fn clear_older(journal: &MongoJournal, room: RoomId, committed: &[Entry]) -> Result<()> {
    let superseding: BTreeMap<_, _> = committed
        .iter()
        .filter(|entry| entry.born < entry.seq && entry.op.sets_state())
        .map(|entry| (entry.item, entry.seq))
        .collect();
    clear(journal, room, &superseding).await
}

/// Clears older current entries of items, by exactly `room, item, current, seq < mine`, in one command.
pub(super) async fn clear(
    journal: &MongoJournal,
    room: RoomId,
    superseding: &BTreeMap<ItemId, Seq>,
) -> Result<()> {
    if superseding.is_empty() {
        return Ok(());
    }
    let updates: Vec<_> = superseding
        .iter()
        .map(|(item, seq)| {
            let older = doc! {
                "room": uuid(room.as_uuid()),
                "item": uuid(item.as_uuid()),
                "current": true,
                "seq": { "$lt": signed(seq.0) },
            };
            doc! { "q": older, "u": { "$set": { "current": false } }, "multi": true }
        })
        .collect();
    let concern = bson::serialize_to_bson(&durable()).map_err(unsound)?;
    let command = doc! {
        "update": journal.entries.name(), "updates": updates, "ordered": false, "writeConcern": concern,
    };
    let answer = within_deadline(async { journal.database.run_command(command).await });
    let answer = answer.await.map_err(failed_write)?;
    match answer
        .get("writeErrors")
        .or(answer.get("writeConcernError"))
    {
        None => Ok(()),
        Some(errors) => Err(JournalError::OutcomeUnknown(anyhow::anyhow!("{errors}"))),
    }
}
