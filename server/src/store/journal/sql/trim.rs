//! Emptying old entries. Their rows are never deleted, because a free slot could be given twice.

use super::{SqlJournal, append, commit, row, row::seq_value, within_deadline};
use crate::store::journal::{JournalError, Result, Trim, seal::NO_REQUEST};
use roost_schema::{ItemId, RoomId, Seq};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement, Value};
use std::collections::BTreeMap;

/// How many rows one transaction empties, so that writers never wait long.
const STEP_ROWS: usize = 500;

/// The assignments that empty an entry; $1 is [`no_request`].
const EMPTY: &str = "body = NULL, op_id = NULL, size_bytes = 0, terms = NULL, salt = NULL, \
                     request_hash = $1, asked_hash = NULL";

/// The end of a query that takes rows for this transaction, and leaves out those that another one has.
const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";

/// The tombstones of one step, by room.
type Tombstones = BTreeMap<RoomId, Vec<(ItemId, Seq)>>;

/// Empties tombstones, after raising the floor of each room above them.
pub(super) async fn tombstones(journal: &SqlJournal, bounds: Trim) -> Result<u64> {
    let before_ms = bounds.tombstones_before.timestamp_millis();
    let mut emptied = 0;
    loop {
        let transaction = journal.begin().await?;
        let step = within_deadline(expire_step(&transaction, before_ms)).await;
        let (found, changed) = step.map_err(JournalError::Unavailable)?;
        commit(transaction).await?;
        emptied += changed;
        if found < STEP_ROWS {
            return Ok(emptied);
        }
    }
}

/// Empties superseded entries.
pub(super) async fn superseded(journal: &SqlJournal, bounds: Trim) -> Result<u64> {
    // On PostgreSQL rows are found by their places (ctid): a search by key could become one of the whole room. Rows that
    // another instance empties at the same time are left to it, else each would write them once more.
    let (rows, found, lock) = match journal.postgres() {
        Some(_) => ("ctid = ANY (ARRAY", "ctid", SKIP_LOCKED),
        None => ("((room, seq) IN ", "room, seq", ""),
    };
    let text = format!(
        "UPDATE journal SET {EMPTY} WHERE {rows}(
            SELECT {found} FROM journal
            WHERE NOT is_current AND body IS NOT NULL AND at_ms < $2
            ORDER BY at_ms LIMIT {STEP_ROWS}{lock}))"
    );
    let mut emptied = 0;
    loop {
        let before_ms = bounds.superseded_before.timestamp_millis();
        let changed = journal
            .execute(&text, vec![no_request(), before_ms.into()])
            .await?;
        emptied += changed;
        if changed < STEP_ROWS as u64 {
            return Ok(emptied);
        }
    }
}

fn no_request() -> Value {
    NO_REQUEST.0.to_vec().into()
}

/// Empties some tombstones. Answers how many were found, and how many of them this transaction emptied.
async fn expire_step(
    transaction: &DatabaseTransaction,
    before_ms: i64,
) -> Result<(usize, u64), DbErr> {
    let backend = transaction.get_database_backend();
    let lock = match backend {
        DbBackend::Sqlite => "",
        _ => SKIP_LOCKED,
    };
    let find = format!(
        "SELECT room, item, seq FROM journal
        WHERE is_current AND op = 'delete' AND body IS NOT NULL AND at_ms < $1
        ORDER BY at_ms LIMIT {STEP_ROWS}{lock}"
    );
    let find = Statement::from_sql_and_values(backend, find, [before_ms.into()]);
    let rows = transaction.query_all_raw(find).await?;
    let mut found = Tombstones::new();
    for row in &rows {
        let seq: i64 = row.try_get("", "seq")?;
        let item = ItemId::from_uuid(row.try_get("", "item")?);
        let tombstones = found.entry(RoomId::from_uuid(row.try_get("", "room")?));
        tombstones
            .or_default()
            .push((item, Seq(seq.unsigned_abs())));
    }
    let mut emptied = 0;
    for (room, tombstones) in &found {
        raise_floor(transaction, *room, tombstones).await?;
        // Otherwise an older entry that is still marked current would become the item's state again.
        append::clear(transaction, *room, tombstones).await?;
        emptied += empty(transaction, *room, tombstones).await?;
    }
    Ok((rows.len(), emptied))
}

async fn raise_floor(
    transaction: &DatabaseTransaction,
    room: RoomId,
    tombstones: &[(ItemId, Seq)],
) -> Result<(), DbErr> {
    let floor = tombstones.iter().map(|(_, seq)| *seq).max();
    let text = "INSERT INTO journal_floor (room, floor) VALUES ($1, $2)
        ON CONFLICT (room) DO UPDATE SET floor = excluded.floor
        WHERE journal_floor.floor < excluded.floor";
    let values = vec![room.as_uuid().into(), seq_value(floor.unwrap_or_default())];
    append::execute(transaction, text.to_owned(), values).await?;
    Ok(())
}

async fn empty(
    transaction: &DatabaseTransaction,
    room: RoomId,
    tombstones: &[(ItemId, Seq)],
) -> Result<u64, DbErr> {
    let mut text = format!("UPDATE journal SET {EMPTY}, is_current = FALSE FROM (VALUES ");
    append::push_tuples(&mut text, 3, tombstones.len(), 1);
    text += ") AS old WHERE journal.room = $2 AND journal.seq = old.column1 AND journal.is_current";
    let mut values: Vec<Value> = vec![no_request(), room.as_uuid().into()];
    values.extend(tombstones.iter().map(|(_, seq)| row::seq_value(*seq)));
    append::execute(transaction, text, values).await
}
