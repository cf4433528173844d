//! Every search on `SQLite` is bound to an index, whatever the statistics say. The tests explain the statements that
//! the journal runs.

use super::{beyond, cut, page, selection};
use crate::store::{
    Sql,
    journal::{FIND_ROOMS_MAX, FindQuery, SqlJournal},
};
use roost_schema::{Direction, Kind, RoomId, Seq, Term};
use sea_orm::{ConnectionTrait, QueryResult};
use std::sync::Arc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The steps after the candidates were found. They scan and sort only the candidates, of which there are at most one
/// more than items in a page.
const CUT: [&str; 6] = [
    "SCAN candidates",
    "USE TEMP B-TREE FOR ORDER BY",
    "SCAN candidates",
    "SCAN p",
    "SEARCH j USING INDEX journal_slot (room=? AND seq=?)",
    "USE TEMP B-TREE FOR ORDER BY",
];

#[tokio::test]
async fn searches_are_bound_to_an_index_in_a_database_that_was_never_analysed() {
    searches_are_bound_to_an_index("").await;
}

#[tokio::test]
async fn searches_are_bound_to_an_index_in_a_database_that_was_analysed_while_empty() {
    searches_are_bound_to_an_index("ANALYZE").await;
}

/// The statistics say that a room has one entry, an item one entry, and that all are current.
#[tokio::test]
async fn searches_are_bound_to_an_index_though_the_statistics_mislead() {
    let fill = "WITH RECURSIVE numbers (n) AS (
            SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500
        )
        INSERT INTO journal (room, seq, item, kind, op, actor, request_hash, at_ms, born, is_current,
            size_bytes, body)
        SELECT randomblob(16), 1, randomblob(16), 'message', 'put', randomblob(16), '', 0, 1, TRUE,
            2, '{}' FROM numbers";
    searches_are_bound_to_an_index(&format!("{fill}; ANALYZE")).await;
}

async fn searches_are_bound_to_an_index(prepare: &str) {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder, prepare).await;
    for (direction, passes) in [(Direction::Newer, ">"), (Direction::Older, "<")] {
        let all = FindQuery::all(Kind::Message, direction, 50);
        let by_kind =
            format!("SEARCH j USING INDEX journal_history (room=? AND kind=? AND born{passes}?)");
        assert_bound(&journal, &all, &[&by_kind]).await;
        let by_term = FindQuery {
            term: Some(Term::new("to", "ann")),
            ..all
        };
        let row =
            format!("SEARCH t USING PRIMARY KEY (term=? AND room=? AND kind=? AND born{passes}?)");
        let entry = "SEARCH j USING INDEX journal_history (room=? AND kind=? AND born=?)";
        assert_bound(&journal, &by_term, &[&row, entry]).await;
    }
}

async fn journal(folder: &tempfile::TempDir, prepare: &str) -> Arc<SqlJournal> {
    let url = format!("sqlite:{}", folder.path().join("roost.db").display());
    let sql = Sql::connect(&url).await.unwrap();
    sql.migrate().await.unwrap();
    sql.write.execute_unprepared(prepare).await.unwrap();
    let tasks = TaskTracker::new();
    let journal = SqlJournal::open(sql, &tasks, CancellationToken::new()).await;
    journal.unwrap()
}

/// Asserts how the candidates are found: by these steps, without a scan or a sort, and by the newest state of each.
async fn assert_bound(journal: &SqlJournal, query: &FindQuery, found_by: &[&str]) {
    let newest = "SEARCH newer USING INDEX journal_item (room=? AND item=?)";
    let expected = [found_by, &[newest], &CUT].concat();
    for rooms in [1, FIND_ROOMS_MAX] {
        for seen in [None, Some(Seq(7))] {
            let plan = plan(journal, query, seen, rooms).await;
            assert_eq!(plan, expected, "{query:?} in {rooms} rooms beyond {seen:?}");
        }
    }
}

/// The steps that search, scan or sort, of the statement for one of so many rooms.
async fn plan(
    journal: &SqlJournal,
    query: &FindQuery,
    seen: Option<Seq>,
    rooms: usize,
) -> Vec<String> {
    let selection = selection(query, beyond(query.direction, seen));
    let cut = cut(query, rooms);
    let (text, values) = page::query(journal, RoomId::generate(), selection, &cut);
    let explain = format!("EXPLAIN QUERY PLAN {text}");
    let steps = journal.query(explain, values).await.unwrap();
    steps.iter().filter_map(step).collect()
}

/// A step of a plan; `None` for a heading. Nested queries have numbers, which another release of `SQLite` may change.
fn step(row: &QueryResult) -> Option<String> {
    let detail: String = row.try_get("", "detail").unwrap();
    let verbs = ["SEARCH ", "SCAN ", "USE TEMP "];
    if !verbs.iter().any(|verb| detail.starts_with(verb)) {
        return None;
    }
    let is_nested = detail.starts_with("SCAN (subquery-");
    Some(if is_nested {
        "SCAN candidates".to_owned()
    } else {
        detail
    })
}
