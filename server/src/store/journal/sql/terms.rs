//! The rows by which items are found: (term, room, kind, born) → item. No row is missing. A row may be stale, because a
//! search checks the item's newest entry, too. `SQLite` keeps the rows by this file; `postgres.rs` does it within its
//! append.

use super::{append, row};
use crate::store::journal::Entry;
use roost_schema::{ItemId, RoomId, Seq};
use sea_orm::{DatabaseTransaction, DbErr, Value};

/// How many rows one statement writes.
const ROWS_MAX: usize = 1_024;

/// Removes the terms of superseded entries while these are still current; terms that the item keeps are added again.
pub(super) async fn remove(
    transaction: &DatabaseTransaction,
    room: RoomId,
    superseding: &[(ItemId, Seq)],
) -> Result<(), DbErr> {
    for part in superseding.chunks(ROWS_MAX) {
        let mut values: Vec<Value> = vec![room.as_uuid().into()];
        let mut text = "DELETE FROM journal_terms WHERE (term, room, kind, born) IN (
            SELECT old.value, j.room, j.kind, j.born FROM (VALUES "
            .to_owned();
        append::push_tuples(&mut text, values.len() + 1, part.len(), 2);
        text += ") AS mine CROSS JOIN journal AS j CROSS JOIN json_each(j.terms) AS old
            WHERE j.room = $1 AND j.item = mine.column1 AND j.is_current AND j.seq < mine.column2
                AND j.terms IS NOT NULL)";
        for (item, seq) in part {
            values.extend([item.as_uuid().into(), row::seq_value(*seq)]);
        }
        append::execute(transaction, text, values).await?;
    }
    Ok(())
}

/// Adds the terms of entries that are the newest of their items.
pub(super) async fn add(
    transaction: &DatabaseTransaction,
    room: RoomId,
    entries: impl Iterator<Item = &Entry>,
) -> Result<(), DbErr> {
    let rows: Vec<_> = entries
        .flat_map(|entry| entry.terms.iter().map(move |term| (term, entry)))
        .collect();
    for part in rows.chunks(ROWS_MAX) {
        let mut values: Vec<Value> = vec![room.as_uuid().into()];
        let mut text = "INSERT INTO journal_terms (room, term, kind, born, item) \
                        SELECT $1, v.* FROM (VALUES "
            .to_owned();
        append::push_tuples(&mut text, values.len() + 1, part.len(), 4);
        text += ") AS v WHERE TRUE ON CONFLICT DO NOTHING";
        for (term, entry) in part {
            values.extend([
                term.as_str().into(),
                entry.kind.as_str().into(),
                row::seq_value(entry.born),
                entry.item.as_uuid().into(),
            ]);
        }
        append::execute(transaction, text, values).await?;
    }
    Ok(())
}
