//! Finding the items of a kind, all of them or those with a term. `postgres.rs` does the same for many rooms in one
//! statement.

use super::{
    SqlJournal,
    page::{self, Cut, NEWEST, Selection},
    row::seq_value,
};
use crate::store::journal::{FindQuery, FindRoom, Page, Result, share_bytes};
use roost_schema::{Direction, Seq, Term};

/// Searches each room by its own query: `SQLite` runs in this process, so no query waits for a network.
pub(super) async fn one_by_one(
    journal: &SqlJournal,
    rooms: &[FindRoom],
    query: &FindQuery,
) -> Result<Vec<Page>> {
    let cut = cut(query, rooms.len());
    let mut pages = Vec::with_capacity(rooms.len());
    for asked in rooms {
        let selection = selection(query, beyond(query.direction, asked.beyond));
        pages.push(page::page(journal, asked.room, selection, &cut).await?);
    }
    Ok(pages)
}

/// The order of a room's page and its limits, when so many rooms share the bytes.
fn cut(query: &FindQuery, rooms: usize) -> Cut {
    Cut {
        order: order(query.direction),
        limit_entries: query.limit_items,
        limit_bytes: share_bytes(rooms),
    }
}

fn selection(query: &FindQuery, beyond: Seq) -> Selection {
    let passes = passes(query.direction);
    let filter = format!("j.kind = $3 AND {NEWEST} AND j.op = 'put' AND j.born {passes} $4");
    let mut values = vec![query.kind.as_str().into(), seq_value(beyond)];
    let Some(term) = &query.term else {
        return Selection::entries(filter, values);
    };
    values.extend([term.as_str().into(), quoted(term).into()]);
    Selection {
        // CROSS JOIN fixes the order of the tables, so that only entries with the term are read.
        source: "journal_terms AS t CROSS JOIN journal AS j",
        ordered: "t",
        filter: format!(
            "t.term = $5 AND t.room = $1 AND t.kind = $3 AND t.born {passes} $4 \
             AND j.item = t.item AND j.born = t.born AND {filter} AND instr(j.terms, $6) > 0"
        ),
        values,
    }
}

pub(super) const fn order(direction: Direction) -> &'static str {
    match direction {
        Direction::Newer => "born ASC",
        Direction::Older => "born DESC",
    }
}

/// How the `born` of a wanted item compares with the last one seen.
pub(super) const fn passes(direction: Direction) -> &'static str {
    match direction {
        Direction::Newer => ">",
        Direction::Older => "<",
    }
}

/// The seq that a search starts beyond; without a last seen item, the whole room lies beyond it.
pub(super) const fn beyond(direction: Direction, seen: Option<Seq>) -> Seq {
    match (seen, direction) {
        (Some(seen), _) => seen,
        (None, Direction::Newer) => Seq::ZERO,
        (None, Direction::Older) => Seq(i64::MAX.unsigned_abs()),
    }
}

/// The term in the form that it has in the stored JSON array of an entry's terms.
pub(super) fn quoted(term: &Term) -> String {
    // A text always encodes.
    serde_json::to_string(term).unwrap_or_default()
}

#[cfg(test)]
mod tests;
