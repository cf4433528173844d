//! Reading entries: pages cut by bytes, and look-ups by id.

use super::{
    LIST_MAX, SqlJournal,
    append::push_tuples,
    postgres, row,
    row::{COLUMNS, seq_value, size_value},
};
use crate::store::journal::{Entry, PAGE_ENTRIES_MAX, Page, Result, check_log};
use roost_schema::{ItemId, OpId, RoomId, Seq, UserId};
use sea_orm::{QueryResult, Value};
use uuid::Uuid;

/// Whether an entry sets its item's state; an entry of an op that this release does not know sets none.
macro_rules! sets_state {
    ($entry:literal) => {
        concat!($entry, ".op IN ('put', 'delete')")
    };
}

/// Whether no state of the item is newer: of two current entries the higher seq is the state. A subquery for each row,
/// not a join, so that no planner reads the whole room for one page.
macro_rules! none_is_newer {
    () => {
        concat!(
            "j.seq >= COALESCE((SELECT max(newer.seq) FROM journal AS newer \
             WHERE newer.room = j.room AND newer.item = j.item AND newer.is_current AND ",
            sets_state!("newer"),
            "), 0)"
        )
    };
}

/// The same for `PostgreSQL`. Only the index by (room, item, seq) can give this order; the range over one item keeps
/// `item` in the order.
macro_rules! none_is_newer_by_index {
    () => {
        concat!(
            "j.seq >= COALESCE((SELECT newer.seq FROM journal AS newer \
             WHERE newer.room = j.room AND newer.item >= j.item AND newer.item <= j.item \
             AND newer.is_current AND ",
            sets_state!("newer"),
            " ORDER BY newer.item DESC, newer.seq DESC LIMIT 1), 0)"
        )
    };
}

/// The state of an item on `PostgreSQL`.
pub(super) const NEWEST_BY_INDEX: &str = concat!(
    "j.is_current AND ",
    sets_state!("j"),
    " AND ",
    none_is_newer_by_index!()
);

/// The same on `SQLite`.
pub(super) const NEWEST: &str = concat!(
    "j.is_current AND ",
    sets_state!("j"),
    " AND ",
    none_is_newer!()
);

pub(super) async fn log(
    journal: &SqlJournal,
    room: RoomId,
    after: Seq,
    limit_bytes: usize,
) -> Result<Page> {
    let cut = Cut::by_bytes(limit_bytes);
    let selection = Selection::entries("j.seq > $3", vec![seq_value(after)]);
    let page = page(journal, room, selection, &cut).await?;
    check_log(room, after, page)
}

pub(super) async fn changes(
    journal: &SqlJournal,
    room: RoomId,
    since: Seq,
    limit_bytes: usize,
) -> Result<Page> {
    let cut = Cut::by_bytes(limit_bytes);
    let filter = format!("j.seq > $3 AND {}", is_change(journal));
    let selection = Selection::entries(filter, vec![seq_value(since)]);
    page(journal, room, selection, &cut).await
}

/// The entries that a reader of changes gets: states, and later current entries of ops that this release does not know.
fn is_change(journal: &SqlJournal) -> String {
    format!("j.is_current AND {}", none_is_newer(journal))
}

const fn none_is_newer(journal: &SqlJournal) -> &'static str {
    // Only SQLite has a writer.
    match journal.writer {
        Some(_) => none_is_newer!(),
        None => none_is_newer_by_index!(),
    }
}

/// The order of a page and its limits.
pub(super) struct Cut {
    pub(super) order: &'static str,
    pub(super) limit_entries: usize,
    pub(super) limit_bytes: usize,
}

impl Cut {
    const fn by_bytes(limit_bytes: usize) -> Self {
        Self {
            order: "seq ASC",
            limit_entries: PAGE_ENTRIES_MAX,
            limit_bytes,
        }
    }
}

/// Which entries of a room a page has. The journal's alias is `j`.
pub(super) struct Selection {
    /// The tables to read, with their aliases.
    pub(super) source: &'static str,
    /// The alias of the table that has the page's order.
    pub(super) ordered: &'static str,
    pub(super) filter: String,
    /// The values of the filter, from $3 on.
    pub(super) values: Vec<Value>,
}

impl Selection {
    pub(super) fn entries(filter: impl Into<String>, values: Vec<Value>) -> Self {
        Self {
            source: "journal AS j",
            ordered: "j",
            filter: filter.into(),
            values,
        }
    }
}

/// Reads a page. The sizes alone decide where the page ends; one more entry than fits shows whether more remain. Bodies
/// are read after that.
pub(super) async fn page(
    journal: &SqlJournal,
    room: RoomId,
    selection: Selection,
    cut: &Cut,
) -> Result<Page> {
    let (text, values) = query(journal, room, selection, cut);
    let rows = journal.query(text, values).await?;
    let entries = entries_of(room, &rows)?;
    let found: i64 = rows.first().map_or(Ok(0), |row| row::get(row, "found"))?;
    let more = usize::try_from(found).is_ok_and(|found| found > entries.len());
    Ok(Page { entries, more })
}

/// The text and the values of a page's query.
pub(super) fn query(
    journal: &SqlJournal,
    room: RoomId,
    selection: Selection,
    cut: &Cut,
) -> (String, Vec<Value>) {
    let text = match journal.postgres() {
        Some(_) => page_in_one_pass(&selection.filter, cut),
        None => page_in_two_passes(&selection, cut),
    };
    let mut values = vec![room.as_uuid().into(), size_value(cut.limit_bytes)];
    values.extend(selection.values);
    (text, values)
}

/// A page by one query. `PostgreSQL` carries long bodies by reference until they are sent, so bodies need no second
/// query, which a planner could turn into a search of the whole room.
fn page_in_one_pass(filter: &str, cut: &Cut) -> String {
    let (order, candidates) = (cut.order, cut.limit_entries.saturating_add(1));
    format!(
        "SELECT {COLUMNS}, j.found FROM (
            SELECT c.*, sum(size_bytes) OVER w AS running, row_number() OVER w AS place,
                count(*) OVER () AS found
            FROM (SELECT j.* FROM journal AS j
                WHERE j.room = $1 AND {filter} ORDER BY j.{order} LIMIT {candidates}) AS c
            WINDOW w AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
        ) AS j
        WHERE j.place = 1 OR (j.running <= $2 AND j.place < {candidates})
        ORDER BY j.{order}"
    )
}

fn page_in_two_passes(selection: &Selection, cut: &Cut) -> String {
    let (order, candidates) = (cut.order, cut.limit_entries.saturating_add(1));
    let Selection {
        source,
        ordered,
        filter,
        ..
    } = selection;
    format!(
        "SELECT {COLUMNS}, p.found FROM (
            SELECT seq, sum(size_bytes) OVER w AS running, row_number() OVER w AS place,
                count(*) OVER () AS found
            FROM (SELECT j.seq, j.born, j.size_bytes FROM {source}
                WHERE j.room = $1 AND {filter} ORDER BY {ordered}.{order} LIMIT {candidates}) AS candidates
            WINDOW w AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
        ) AS p JOIN journal AS j ON j.room = $1 AND j.seq = p.seq
        WHERE p.place = 1 OR (p.running <= $2 AND p.place < {candidates})
        ORDER BY j.{order}"
    )
}

pub(super) async fn items(
    journal: &SqlJournal,
    room: RoomId,
    items: &[ItemId],
) -> Result<Vec<Entry>> {
    if let Some(pool) = journal.postgres() {
        return entries_of(room, &postgres::items(pool, room, items).await?);
    }
    let mut entries = Vec::with_capacity(items.len());
    for items in items.chunks(LIST_MAX) {
        let mut text = format!(
            "SELECT {COLUMNS} FROM journal AS j WHERE j.room = $1 AND {NEWEST} AND j.item IN ("
        );
        for number in 0..items.len() {
            let comma = if number == 0 { "$" } else { ", $" };
            text += comma;
            text += &(number + 2).to_string();
        }
        text += ")";
        let mut values: Vec<Value> = vec![room.as_uuid().into()];
        values.extend(items.iter().map(|item| Value::from(item.as_uuid())));
        for row in journal.query(text, values).await? {
            entries.push(row::entry(room, &row)?);
        }
    }
    Ok(entries)
}

pub(super) async fn operations(
    journal: &SqlJournal,
    room: RoomId,
    operations: &[(UserId, OpId)],
) -> Result<Vec<Entry>> {
    if let Some(pool) = journal.postgres() {
        return entries_of(room, &postgres::operations(pool, room, operations).await?);
    }
    let mut entries = Vec::new();
    for operations in operations.chunks(LIST_MAX) {
        let mut text = format!("SELECT {COLUMNS} FROM (VALUES ");
        push_tuples(&mut text, 2, operations.len(), 2);
        text += ") AS asked JOIN journal AS j \
                 ON j.room = $1 AND j.actor = asked.column1 AND j.op_id = asked.column2";
        let mut values: Vec<Value> = vec![room.as_uuid().into()];
        for (actor, op_id) in operations {
            values.extend([actor.as_uuid().into(), op_id.to_string().into()]);
        }
        for row in journal.query(text, values).await? {
            entries.push(row::entry(room, &row)?);
        }
    }
    Ok(entries)
}

/// One step through the index by (room, seq) for each room, however many entries the room has.
pub(super) async fn rooms(
    journal: &SqlJournal,
    beyond: Option<RoomId>,
    limit_rooms: usize,
) -> Result<Vec<RoomId>> {
    let text = "WITH RECURSIVE found (room, place) AS (
            SELECT (SELECT room FROM journal WHERE room > $1 ORDER BY room LIMIT 1), 1
            UNION ALL
            SELECT (SELECT j.room FROM journal AS j WHERE j.room > found.room ORDER BY j.room LIMIT 1), place + 1
            FROM found WHERE found.room IS NOT NULL AND place < $2
        )
        SELECT room FROM found WHERE room IS NOT NULL";
    let beyond = beyond.map_or(Uuid::nil(), |room| room.as_uuid());
    let values = vec![beyond.into(), size_value(limit_rooms)];
    let rows = journal.query(text.to_owned(), values).await?;
    let room = |row: &QueryResult| row::get(row, "room").map(RoomId::from_uuid);
    rows.iter().map(room).collect()
}

fn entries_of(room: RoomId, rows: &[QueryResult]) -> Result<Vec<Entry>> {
    rows.iter().map(|row| row::entry(room, row)).collect()
}
