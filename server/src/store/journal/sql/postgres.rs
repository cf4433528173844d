//! The statements of `PostgreSQL` that take lists: the append, and look-ups.
//!
//! Lists are arrays, so that each statement has one text, and one plan, whatever their length. Each statement is made
//! for one index and can use no other: where an equality would give the planner a choice, a range and an order that
//! only this index has give none. So a plan that was made while the table was empty is still good when the table holds
//! millions of rows.

use super::{
    DEADLINE,
    append::{are_newest, refused_by},
    find::{beyond, order, passes, quoted},
    page::NEWEST_BY_INDEX,
    row,
    row::COLUMNS,
    within_deadline,
};
use crate::store::{
    journal::{
        Appended, Entry, FindQuery, FindRoom, Gate, JournalError, Page, Result, Stop,
        encoding::signed,
        gate,
        seal::{HASH_BYTES, Seal},
        share_bytes,
    },
    postgres::STATEMENT_LONGEST,
    sql::{is_dead, on_living_connection},
};
use anyhow::anyhow;
use roost_schema::{Direction, ItemId, OpId, RoomId, Seq, UserId};
use sea_orm::{
    QueryResult,
    sqlx::{
        self, AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, SqlSafeStr,
        pool::PoolConnection,
        postgres::{PgArguments, PgDatabaseError, PgSeverity},
        query::Query,
    },
};
use std::collections::HashMap;
use uuid::Uuid;

/// Inserts a batch, clears the entries that it supersedes, and updates the rows of terms. Answers how many entries were
/// inserted: all or 0.
///
/// One autocommitted statement, so that no lock is held while the server waits for an instance. The INSERT itself looks
/// up the slot before the first entry. Cleared entries are selected from the inserted rows only: otherwise a refused
/// batch would make items vanish. An entry that a later one of the batch supersedes is inserted not current, because a
/// statement does not see its own rows. Entries have no ON CONFLICT: a duplicate must be recognised and must undo the
/// whole batch.
const APPEND: &str = "\
    WITH written AS (
        INSERT INTO journal (room, seq, item, kind, op, actor, op_id, request_hash, at_ms, born,
            is_current, size_bytes, body, asked_hash, terms, salt, body_hash, row_hash)
        SELECT $1, batch.* FROM unnest($3::bigint[], $4::uuid[], $5::text[], $6::text[],
            $7::uuid[], $8::text[], $9::bytea[], $10::bigint[], $11::bigint[], $12::boolean[],
            $13::bigint[], $14::text[], $15::bytea[], $16::text[], $17::bytea[], $18::bytea[],
            $19::bytea[]) AS batch
        WHERE COALESCE((SELECT slot.seq FROM journal AS slot
            WHERE slot.room = $1 AND slot.seq <= $2 ORDER BY slot.seq DESC LIMIT 1), 0) = $2
        RETURNING item, seq, kind, born, op, is_current, terms
    ), older AS (
        SELECT found.*, written.terms AS newer FROM written CROSS JOIN LATERAL (
            SELECT j.ctid AS place, j.kind, j.born, j.terms FROM journal AS j
            WHERE j.room = $1 AND j.item >= written.item AND j.item <= written.item
                AND j.is_current AND j.seq < written.seq
            ORDER BY j.item DESC, j.seq DESC
        ) AS found
        WHERE written.is_current AND written.born < written.seq AND written.op IN ('put', 'delete')
    ), cleared AS (
        UPDATE journal SET is_current = FALSE FROM older WHERE journal.ctid = older.place
    ), gone AS (
        SELECT found.place FROM older
        CROSS JOIN LATERAL jsonb_array_elements_text(older.terms::jsonb) AS old (term)
        CROSS JOIN LATERAL (
            SELECT t.ctid AS place FROM journal_terms AS t
            WHERE t.term = old.term AND t.room = $1 AND t.kind = older.kind AND t.born = older.born
            LIMIT 1
        ) AS found
        WHERE older.terms IS NOT NULL AND NOT COALESCE(older.newer::jsonb ? old.term, FALSE)
    ), removed AS (
        DELETE FROM journal_terms USING gone WHERE journal_terms.ctid = gone.place
    ), added AS (
        INSERT INTO journal_terms (term, room, kind, born, item)
        SELECT new.term, $1, written.kind, written.born, written.item FROM written
        CROSS JOIN LATERAL jsonb_array_elements_text(written.terms::jsonb) AS new (term)
        WHERE written.terms IS NOT NULL AND written.is_current AND written.op = 'put'
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM written";

const HEADS: &str = "\
    SELECT e.epoch, asked.room,
        (SELECT j.seq FROM journal AS j WHERE j.room = asked.room
            ORDER BY j.seq DESC LIMIT 1) AS head,
        (SELECT f.floor FROM journal_floor AS f WHERE f.room = asked.room) AS floor
    FROM journal_epoch AS e LEFT JOIN unnest($1::uuid[]) AS asked (room) ON TRUE
    WHERE e.id = 1";

/// Appends in one autocommitted statement.
pub(super) async fn append(
    pool: &PgPool,
    room: RoomId,
    batch: &[Entry],
    gate: &dyn Gate,
) -> Result<Appended> {
    let Some(first) = batch.first() else {
        return Ok(Appended::all(batch));
    };
    let mut connection = within_deadline(Box::pin(prepared(pool)))
        .await
        .map_err(JournalError::Unavailable)?;
    gate::pass(gate, STATEMENT_LONGEST)?;
    let insert = inserting(room, first.seq, batch).fetch_one(&mut *connection);
    let outcome = match tokio::time::timeout(DEADLINE, insert).await {
        Ok(Ok(inserted)) => counted(inserted, batch),
        Ok(Err(error)) => refused(error),
        Err(_) => Err(JournalError::OutcomeUnknown(anyhow!(
            "no answer from the database within {DEADLINE:?}"
        ))),
    };
    if matches!(outcome, Err(JournalError::OutcomeUnknown(_))) {
        // A late answer must not be taken for the answer of another statement.
        connection.close_on_drop();
    }
    outcome
}

/// A living connection that has the statement prepared, so that the whole append is sent in one write.
async fn prepared(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let prepare = async || {
        let mut connection = pool.acquire().await?;
        let on: &mut PgConnection = &mut connection;
        on.prepare(APPEND.into_sql_str()).await?;
        Ok(connection)
    };
    on_living_connection(prepare, is_dead).await
}

fn inserting(
    room: RoomId,
    first: Seq,
    batch: &[Entry],
) -> sqlx::query::QueryScalar<'static, Postgres, i64, PgArguments> {
    let numbers = |of: fn(&Entry) -> i64| batch.iter().map(of).collect::<Vec<_>>();
    let ids = |of: fn(&Entry) -> Uuid| batch.iter().map(of).collect::<Vec<_>>();
    let texts = |of: fn(&Entry) -> String| batch.iter().map(of).collect::<Vec<_>>();
    let op_id = |entry: &Entry| entry.op_id.as_ref().map(ToString::to_string);
    let hash = |entry: &Entry| entry.request_hash.0.to_vec();
    let asked = |entry: &Entry| entry.asked_hash.map(|hash| hash.0.to_vec());
    let terms = |entry: &Entry| entry.terms.to_text();
    let seals: Vec<_> = batch.iter().map(Seal::of).collect();
    let sealed = |of: fn(&Seal) -> [u8; HASH_BYTES]| {
        let column = seals.iter().map(|seal| of(seal).to_vec());
        column.collect::<Vec<_>>()
    };
    let size = |entry: &Entry| i64::try_from(entry.body.as_str().len()).unwrap_or(i64::MAX);
    sqlx::query_scalar(APPEND)
        .bind(room.as_uuid())
        .bind(signed(first.0.saturating_sub(1)))
        .bind(numbers(|entry| signed(entry.seq.0)))
        .bind(ids(|entry| entry.item.as_uuid()))
        .bind(texts(|entry| entry.kind.as_str().to_owned()))
        .bind(texts(|entry| entry.op.as_str().to_owned()))
        .bind(ids(|entry| entry.actor.as_uuid()))
        .bind(batch.iter().map(op_id).collect::<Vec<_>>())
        .bind(batch.iter().map(hash).collect::<Vec<_>>())
        .bind(numbers(|entry| entry.at.timestamp_millis()))
        .bind(numbers(|entry| signed(entry.born.0)))
        .bind(are_newest(batch))
        .bind(numbers(size))
        .bind(texts(|entry| entry.body.as_str().to_owned()))
        .bind(batch.iter().map(asked).collect::<Vec<_>>())
        .bind(batch.iter().map(terms).collect::<Vec<_>>())
        .bind(sealed(|seal| seal.salt))
        .bind(sealed(|seal| seal.body_hash))
        .bind(sealed(|seal| seal.row_hash))
}

fn counted(inserted: i64, batch: &[Entry]) -> Result<Appended> {
    match usize::try_from(inserted) {
        Ok(0) => Ok(Appended {
            committed: 0,
            // The slot before the first entry is empty, so the INSERT selected no rows.
            stop: Some(Stop::SlotTaken),
        }),
        Ok(inserted) if inserted == batch.len() => Ok(Appended::all(batch)),
        _ => Err(JournalError::Unsound(format!(
            "an append of {} entries inserted {inserted}",
            batch.len()
        ))),
    }
}

/// Only an answer of severity ERROR means that nothing was written. After FATAL or a broken connection the statement
/// may have been committed.
fn refused(error: sqlx::Error) -> Result<Appended> {
    if let Some(stop) = refused_by(&error) {
        let stop = Some(stop);
        return Ok(Appended { committed: 0, stop });
    }
    let refusal = error.as_database_error();
    let severity = refusal
        .and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>())
        .map(PgDatabaseError::severity);
    match severity {
        Some(PgSeverity::Error) => Err(JournalError::Unavailable(error.into())),
        _ => Err(JournalError::OutcomeUnknown(error.into())),
    }
}

/// A row for each room with the epoch, its head and floor; without rooms, one row with the epoch.
pub(super) async fn heads(pool: &PgPool, rooms: &[RoomId]) -> Result<Vec<QueryResult>> {
    let rooms: Vec<_> = rooms.iter().map(RoomId::as_uuid).collect();
    fetch(pool, || sqlx::query(HEADS).bind(rooms.clone())).await
}

/// The newest entry of each item, read backwards from the end of the item's range.
pub(super) async fn items(
    pool: &PgPool,
    room: RoomId,
    items: &[ItemId],
) -> Result<Vec<QueryResult>> {
    let text = format!(
        "SELECT {COLUMNS} FROM unnest($2::uuid[]) AS asked (item) CROSS JOIN LATERAL (
            SELECT * FROM journal AS j WHERE j.room = $1 AND j.item >= asked.item
                AND j.item <= asked.item AND j.is_current AND j.op IN ('put', 'delete')
            ORDER BY j.item DESC, j.seq DESC LIMIT 1) AS j"
    );
    let mut items: Vec<_> = items.iter().map(ItemId::as_uuid).collect();
    items.sort_unstable();
    items.dedup();
    let query = || sqlx::query(AssertSqlSafe(text.clone())).bind(room.as_uuid());
    fetch(pool, || query().bind(items.clone())).await
}

/// A page for each room, as `find.rs` reads it for one. Without a term the query reads a range of the index by (room,
/// kind, born), else a range of the rows of terms, and the newest entry of each item in it.
pub(super) async fn find(
    pool: &PgPool,
    rooms: &[FindRoom],
    query: &FindQuery,
) -> Result<Vec<Page>> {
    let (order, passes) = (order(query.direction), passes(query.direction));
    let candidates = match &query.term {
        None => format!(
            "SELECT j.* FROM journal AS j
            WHERE j.room = asked.room AND j.kind = $5 AND {NEWEST_BY_INDEX} AND j.op = 'put'
                AND j.born {passes} asked.beyond
            ORDER BY j.{order} LIMIT $4 + 1"
        ),
        Some(_) => format!(
            "SELECT j.* FROM journal_terms AS t CROSS JOIN LATERAL (
                SELECT * FROM journal AS j WHERE j.room = asked.room AND j.item >= t.item
                    AND j.item <= t.item AND j.is_current AND j.op IN ('put', 'delete')
                ORDER BY j.item DESC, j.seq DESC LIMIT 1
            ) AS j
            WHERE t.term = $6 AND t.room = asked.room AND t.kind = $5 AND t.born {passes} asked.beyond
                AND j.op = 'put' AND j.kind = $5 AND j.born = t.born AND position($7 IN j.terms) > 0
            ORDER BY t.{order} LIMIT $4 + 1"
        ),
    };
    let text = format!(
        "SELECT asked.room, found.* FROM unnest($1::uuid[], $2::bigint[]) AS asked (room, beyond)
        CROSS JOIN LATERAL (
            SELECT {COLUMNS}, j.found FROM (
                SELECT c.*, sum(size_bytes) OVER w AS running, row_number() OVER w AS place,
                    count(*) OVER () AS found
                FROM ({candidates}) AS c
                WINDOW w AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
            ) AS j
            WHERE j.place = 1 OR (j.running <= $3 AND j.place <= $4)
        ) AS found"
    );
    let ids: Vec<_> = rooms.iter().map(|asked| asked.room.as_uuid()).collect();
    let beyonds = rooms
        .iter()
        .map(|asked| beyond(query.direction, asked.beyond));
    let beyonds: Vec<_> = beyonds.map(|seq| signed(seq.0)).collect();
    let limit_items = i64::try_from(query.limit_items).unwrap_or(i64::MAX - 1);
    let limit_bytes = i64::try_from(share_bytes(rooms.len())).unwrap_or(i64::MAX);
    let asking = || {
        let asking = sqlx::query(AssertSqlSafe(text.clone()))
            .bind(ids.clone())
            .bind(beyonds.clone())
            .bind(limit_bytes)
            .bind(limit_items)
            .bind(query.kind.as_str().to_owned());
        match &query.term {
            Some(term) => asking.bind(term.as_str().to_owned()).bind(quoted(term)),
            None => asking,
        }
    };
    pages(rooms, query.direction, &fetch(pool, asking).await?)
}

/// Sorts rows by their rooms. The join promises no order within a room.
fn pages(rooms: &[FindRoom], direction: Direction, rows: &[QueryResult]) -> Result<Vec<Page>> {
    let mut found: HashMap<RoomId, (Vec<Entry>, i64)> = HashMap::with_capacity(rooms.len());
    for row in rows {
        let room = RoomId::from_uuid(row::get(row, "room")?);
        let (entries, count) = found.entry(room).or_default();
        entries.push(row::entry(room, row)?);
        *count = row::get(row, "found")?;
    }
    let page = |asked: &FindRoom| {
        let (mut entries, count) = found.remove(&asked.room).unwrap_or_default();
        entries.sort_by_key(|entry| entry.born);
        if direction == Direction::Older {
            entries.reverse();
        }
        let more = usize::try_from(count).is_ok_and(|count| count > entries.len());
        Page { entries, more }
    };
    Ok(rooms.iter().map(page).collect())
}

/// The entries of operations. The pairs are compared as rows, so that a search of the index by (room, actor, op id)
/// starts and ends at the pair itself.
pub(super) async fn operations(
    pool: &PgPool,
    room: RoomId,
    operations: &[(UserId, OpId)],
) -> Result<Vec<QueryResult>> {
    let text = format!(
        "SELECT {COLUMNS} FROM unnest($2::uuid[], $3::text[]) AS asked (actor, op_id)
        CROSS JOIN LATERAL (
            SELECT * FROM journal AS j WHERE j.room = $1 AND j.op_id IS NOT NULL
                AND (j.actor, j.op_id) >= (asked.actor, asked.op_id)
                AND (j.actor, j.op_id) <= (asked.actor, asked.op_id)
            ORDER BY j.actor, j.op_id LIMIT 1) AS j"
    );
    let (actors, op_ids): (Vec<_>, Vec<_>) = operations
        .iter()
        .map(|(actor, op_id)| (actor.as_uuid(), op_id.to_string()))
        .unzip();
    let query = || sqlx::query(AssertSqlSafe(text.clone())).bind(room.as_uuid());
    fetch(pool, || query().bind(actors.clone()).bind(op_ids.clone())).await
}

/// Reads; repeats the read on another connection when a pooled one has died.
async fn fetch(
    pool: &PgPool,
    query: impl Fn() -> Query<'static, Postgres, PgArguments>,
) -> Result<Vec<QueryResult>> {
    let read = on_living_connection(|| query().fetch_all(pool), is_dead);
    let rows = within_deadline(read)
        .await
        .map_err(JournalError::Unavailable)?;
    Ok(rows.into_iter().map(QueryResult::from).collect())
}
