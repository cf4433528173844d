//! Appends a batch inside a transaction of `SQLite`: all of it, or nothing. `postgres.rs` does the same in one
//! statement.

use super::{row, terms};
use crate::store::journal::{Entry, Stop};
use roost_schema::{ItemId, RoomId, Seq};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, Statement, Value, sqlx,
};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
};

/// Entries per statement; a larger batch takes several statements of one transaction.
const INSERT_ENTRIES_MAX: usize = 1_024;

/// Inserts a batch and clears the entries that it supersedes. After `Some` nothing may be committed.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    room: RoomId,
    batch: &[Entry],
) -> Result<Option<Stop>, DbErr> {
    let are_newest = are_newest(batch);
    let parts = batch.chunks(INSERT_ENTRIES_MAX);
    for (part, are_newest) in parts.zip(are_newest.chunks(INSERT_ENTRIES_MAX)) {
        match insert(transaction, room, part, are_newest).await {
            // The slot before the first entry is empty, so the INSERT selected no rows.
            Ok(0) => return Ok(Some(Stop::SlotTaken)),
            Ok(_) => {}
            Err(error) => return duplicate(&error).map(Some).ok_or(error),
        }
    }
    let mut superseding = BTreeMap::new();
    for entry in batch
        .iter()
        .filter(|entry| entry.born < entry.seq && entry.op.sets_state())
    {
        superseding.insert(entry.item, entry.seq);
    }
    let superseding: Vec<_> = superseding.into_iter().collect();
    terms::remove(transaction, room, &superseding).await?;
    clear(transaction, room, &superseding).await?;
    let newest = batch.iter().zip(&are_newest);
    let newest = newest.filter_map(|(entry, is_newest)| is_newest.then_some(entry));
    terms::add(transaction, room, newest).await?;
    Ok(None)
}

/// For each entry, whether no later one of the batch supersedes it. A superseded entry is inserted not current, because
/// the statement that clears older entries does not see the rows of its own batch.
pub(super) fn are_newest(batch: &[Entry]) -> Vec<bool> {
    let mut seen = HashSet::with_capacity(batch.len());
    let mut newest: Vec<_> = batch
        .iter()
        .rev()
        .map(|entry| {
            let is_newest = !seen.contains(&entry.item);
            if entry.op.sets_state() {
                seen.insert(entry.item);
            }
            is_newest
        })
        .collect();
    newest.reverse();
    newest
}

/// One statement, so that the INSERT itself looks up the slot before the first. It has no ON CONFLICT: a duplicate must
/// be recognised and must undo the whole batch.
async fn insert(
    transaction: &DatabaseTransaction,
    room: RoomId,
    part: &[Entry],
    are_newest: &[bool],
) -> Result<u64, DbErr> {
    let Some(first) = part.first() else {
        return Ok(0);
    };
    let before = Seq(first.seq.0.saturating_sub(1));
    let mut values: Vec<Value> = vec![room.as_uuid().into(), row::seq_value(before)];
    let mut text = "INSERT INTO journal (room, seq, item, kind, op, actor, op_id, request_hash, \
                    asked_hash, at_ms, born, size_bytes, body, terms, salt, body_hash, row_hash, \
                    is_current) SELECT $1, v.* FROM (VALUES "
        .to_owned();
    let width = row::VALUES + 1;
    push_tuples(&mut text, values.len() + 1, part.len(), width);
    text += ") AS v WHERE $2 = 0 OR EXISTS (SELECT 1 FROM journal WHERE room = $1 AND seq = $2)";
    for (entry, is_newest) in part.iter().zip(are_newest) {
        values.extend(row::values(entry));
        values.push((*is_newest).into());
    }
    let inserted = execute(transaction, text, values).await?;
    Ok(inserted)
}

/// Clears older current entries of items, by exactly `room, item, current, seq < mine`.
pub(super) async fn clear(
    transaction: &DatabaseTransaction,
    room: RoomId,
    superseding: &[(ItemId, Seq)],
) -> Result<(), DbErr> {
    for part in superseding.chunks(INSERT_ENTRIES_MAX) {
        let mut values: Vec<Value> = vec![room.as_uuid().into()];
        let mut text = "UPDATE journal SET is_current = FALSE FROM (VALUES ".to_owned();
        push_tuples(&mut text, values.len() + 1, part.len(), 2);
        text += ") AS mine WHERE journal.room = $1 AND journal.item = mine.column1 \
                 AND journal.is_current AND journal.seq < mine.column2";
        for (item, seq) in part {
            values.extend([item.as_uuid().into(), row::seq_value(*seq)]);
        }
        execute(transaction, text, values).await?;
    }
    Ok(())
}

/// Runs a statement; answers how many rows it changed.
pub(super) async fn execute(
    transaction: &DatabaseTransaction,
    text: String,
    values: Vec<Value>,
) -> Result<u64, DbErr> {
    let statement = statement(transaction.get_database_backend(), text, values);
    Ok(transaction.execute_raw(statement).await?.rows_affected())
}

/// A statement with its values as `$1`, `$2`, …
pub(super) fn statement(backend: DbBackend, text: String, values: Vec<Value>) -> Statement {
    // SQLite compares `$n` with all names before it, which is slow for thousands of values; it does not for `?n`.
    let text = match backend {
        DbBackend::Sqlite => text.replace('$', "?"),
        _ => text,
    };
    Statement::from_sql_and_values(backend, text, values)
}

/// Writes `($n, $n+1), ($n+2, …), …`: `tuples` tuples of `width` values, numbered from `first`.
pub(super) fn push_tuples(text: &mut String, first: usize, tuples: usize, width: usize) {
    for tuple in 0..tuples {
        text.push_str(if tuple == 0 { "(" } else { ", (" });
        for column in 0..width {
            let comma = if column == 0 { "" } else { ", " };
            let number = first + tuple * width + column;
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}${number}");
        }
        text.push(')');
    }
}

/// The unique index that refused.
fn duplicate(error: &DbErr) -> Option<Stop> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        error
    else {
        return None;
    };
    refused_by(cause)
}

/// The unique index that refused. `PostgreSQL` names the index, `SQLite` its columns.
pub(super) fn refused_by(error: &sqlx::Error) -> Option<Stop> {
    let refusal = error.as_database_error()?;
    if !refusal.is_unique_violation() {
        return None;
    }
    match refusal.constraint().unwrap_or(refusal.message()) {
        "journal_slot" | "UNIQUE constraint failed: journal.room, journal.seq" => {
            Some(Stop::SlotTaken)
        }
        "journal_operation"
        | "UNIQUE constraint failed: journal.room, journal.actor, journal.op_id" => {
            Some(Stop::OperationKnown)
        }
        _ => None,
    }
}
