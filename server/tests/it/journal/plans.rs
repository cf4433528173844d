//! Every statement of the journal on PostgreSQL is bound to an index, whatever the statistics say and whenever its plan
//! was made. The test explains the statements that the journal prepared on its own connection, so it sees the plans
//! that are used.

use super::{
    entries::{change, entry, found_by, open_gate},
    stores::Store,
};
use crate::support::in_time;
use roost_schema::{Direction, Kind, RoomId, Seq, Term};
use roost_server::store::journal::{FindQuery, FindRoom, Journal, SqlJournal};
use sea_orm::{
    ConnectionTrait,
    sqlx::{self, AssertSqlSafe, PgConnection, Row},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const ENTRIES: u64 = 100_000;
/// A page has 1,025 candidates, and reads the newest entry of each.
const ROWS_VISITED_MAX: f64 = 4_000.0;
/// From the sixth call on a connection uses a generic plan, which knows no values.
const CALLS: usize = 10;

/// Plan nodes that sort, or that read a room or a table instead of a range of an index.
const REFUSED: [&str; 10] = [
    "Seq Scan",
    "Bitmap Heap Scan",
    "Bitmap Index Scan",
    "Sort",
    "Incremental Sort",
    "Hash Join",
    "Merge Join",
    "Materialize",
    "Gather",
    "Gather Merge",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_bound_to_an_index_in_a_database_that_was_never_analysed() {
    plans_are_bound_to_an_index("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_bound_to_an_index_in_a_database_that_was_analysed_while_empty() {
    plans_are_bound_to_an_index("ANALYZE").await;
}

/// The statistics say that a room has one entry, an item one entry, and that all are current.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_bound_to_an_index_though_the_statistics_mislead() {
    let fill = "INSERT INTO journal SELECT md5(n::text)::uuid, 1, md5(n::text)::uuid, 'message',
            'put', md5(n::text)::uuid, n::text, decode(repeat('07', 32), 'hex'), 0, 1, TRUE, 2, '{}'
        FROM generate_series(1, 500) AS n";
    plans_are_bound_to_an_index(&format!("{fill}; ANALYZE")).await;
}

/// Tests a connection that planned while the room was small, and one that was opened when the room was large.
async fn plans_are_bound_to_an_index(prepare: &str) {
    let store = Store::postgres().await;
    let sql = store.sql().await;
    let no_autovacuum = "ALTER TABLE journal SET (autovacuum_enabled = false);
        ALTER TABLE journal_terms SET (autovacuum_enabled = false);
        ALTER TABLE journal_floor SET (autovacuum_enabled = false);
        ALTER TABLE journal_epoch SET (autovacuum_enabled = false)";
    sql.write.execute_unprepared(no_autovacuum).await.unwrap();
    sql.write.execute_unprepared(prepare).await.unwrap();
    let early = Caller::new(&store).await;
    for _ in 0..CALLS {
        early.call_each(RoomId::generate()).await;
    }
    let room = RoomId::generate();
    let head = early.call_each(room).await;
    // Every third entry changes the item of the one before, and has a term.
    let fill = format!(
        "INSERT INTO journal SELECT '{room}', n, md5((n - (n % 3) / 2)::text)::uuid, 'message',
            'put', md5((n % 100)::text)::uuid, n::text, decode(repeat('07', 32), 'hex'), 0, n - (n % 3) / 2, n % 3 <> 1, 100,
            '\"' || repeat('x', 98) || '\"', NULL, CASE WHEN n % 3 = 2 THEN '[\"to:ann\"]' END
        FROM generate_series({begin}, {ENTRIES}) AS n;
        INSERT INTO journal_terms SELECT 'to:ann', '{room}', 'message', n - 1, md5((n - 1)::text)::uuid
        FROM generate_series({begin}, {ENTRIES}) AS n WHERE n % 3 = 2",
        begin = head.0 + 1
    );
    // The fill is one statement, which may exceed the statement timeout on a busy machine.
    sql.write
        .execute_unprepared(&format!("SET statement_timeout = 0; {fill}"))
        .await
        .unwrap();
    let late = Caller::new(&store).await;
    late.call_each(room).await;
    late.assert_bound("at its first call", room).await;
    for _ in 1..CALLS {
        late.call_each(room).await;
    }
    late.assert_bound("at its tenth call", room).await;
    early
        .assert_bound("planned while the room was small", room)
        .await;
    early.call_each(room).await;
    drop((early, late, sql));
    store.remove().await;
}

/// A journal whose calls come one after the other, so that they share one connection.
struct Caller(Arc<SqlJournal>);

impl Caller {
    async fn new(store: &Store) -> Self {
        let tasks = TaskTracker::new();
        let journal = SqlJournal::open(store.sql().await, &tasks, CancellationToken::new()).await;
        let caller = Self(journal.unwrap());
        caller.connection_is_back().await;
        let pool = caller.0.sql().write.get_postgres_connection_pool();
        let one = pool.acquire().await.unwrap();
        while pool.size() > 1 {
            pool.acquire().await.unwrap().close().await.unwrap();
        }
        drop(one);
        caller.connection_is_back().await;
        caller
    }

    /// Calls everything that reads and writes a room; answers its head.
    async fn call_each(&self, room: RoomId) -> Seq {
        let Self(journal) = self;
        self.connection_is_back().await;
        let head = journal.heads(&[room]).await.unwrap().rooms[&room].head;
        let new = entry(room, head.0 + 1);
        let edited = found_by(&["to:bob"], change(&new, head.0 + 2));
        let batch = [new.clone(), edited];
        self.connection_is_back().await;
        let appended = journal.append(room, &batch, &open_gate()).await.unwrap();
        assert_eq!(appended.committed, 2);
        let head = Seq(head.0 + 2);
        self.connection_is_back().await;
        journal.log(room, Seq::ZERO, 1 << 20).await.unwrap();
        self.connection_is_back().await;
        journal.changes(room, Seq::ZERO, 1 << 20).await.unwrap();
        for direction in [Direction::Older, Direction::Newer] {
            for term in [None, Some(Term::new("to", "ann"))] {
                let query = FindQuery {
                    term,
                    ..FindQuery::all(Kind::Message, direction, 50)
                };
                let other = RoomId::generate();
                let rooms = [room, other].map(|room| FindRoom { room, beyond: None });
                self.connection_is_back().await;
                journal.find(&rooms, query).await.unwrap();
            }
        }
        self.connection_is_back().await;
        assert_eq!(journal.items(room, &[new.item]).await.unwrap().len(), 1);
        let operation = (new.actor, new.op_id.unwrap());
        self.connection_is_back().await;
        let found = journal.operations(room, &[operation]).await.unwrap();
        assert_eq!(found.len(), 1);
        self.connection_is_back().await;
        head
    }

    /// Waits until a task of the pool has returned the connection: an earlier call would open another one.
    async fn connection_is_back(&self) {
        let pool = self.0.sql().write.get_postgres_connection_pool();
        in_time(async {
            while pool.num_idle() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Explains the statements that this caller's connection has prepared, as they would run next.
    async fn assert_bound(&self, when: &str, room: RoomId) {
        self.connection_is_back().await;
        let pool = self.0.sql().write.get_postgres_connection_pool();
        assert_eq!(pool.size(), 1);
        let mut connection = pool.acquire().await.unwrap();
        let prepared = sqlx::query("SELECT name, statement FROM pg_prepared_statements");
        let prepared = prepared.fetch_all(&mut *connection).await.unwrap();
        let mut explained = BTreeMap::new();
        for row in prepared {
            let (name, text): (String, String) = (row.get(0), row.get(1));
            let Some((what, arguments)) = arguments(&text, room) else {
                continue;
            };
            let plan = explain(&mut connection, &name, &arguments, room).await;
            println!("{when}: {what} visits {}", visited(&plan["Plan"]));
            assert_is_bound(&format!("{what} {when}"), &plan);
            *explained.entry(what).or_insert(0) += 1;
        }
        let expected = [
            ("append", 1),
            ("changes", 1),
            ("heads", 1),
            ("find", 2),
            ("find by term", 2),
            ("items", 1),
            ("log", 1),
            ("operations", 1),
        ];
        assert_eq!(explained, BTreeMap::from(expected));
    }
}

/// The purpose of a statement, and arguments from the middle of the room.
fn arguments(text: &str, room: RoomId) -> Option<(&'static str, String)> {
    let list = |of: fn(u64) -> String| {
        let listed: Vec<_> = (50_000..50_100).map(of).collect();
        listed.join(", ")
    };
    let items = list(|n| format!("md5('{}')::uuid", n - (n % 3) / 2));
    let actors = list(|n| format!("md5('{}')::uuid", n % 100));
    let op_ids = list(|n| format!("'{n}'"));
    let found = format!(
        "array['{room}', md5('elsewhere')::uuid], array[50000, 50000], 1048576, 50, 'message'"
    );
    let has = |part: &str| text.contains(part);
    Some(if has("INSERT INTO journal (room") {
        // Two changes of items in the middle, after the last slot; the transaction is rolled back.
        let changes = format!(
            "'{room}', 200000, array[200001, 200002], array[md5('50001')::uuid, md5('50004')::uuid],
            array['message', 'message'], array['put', 'put'], array['{room}', '{room}']::uuid[],
            array['one', 'two'], array['', '']::bytea[], array[0, 0], array[50001, 50004],
            array[true, true], array[2, 2], array['{{}}', '{{}}'], array['', '']::bytea[],
            array['[\"to:bob\"]', NULL], array['', '']::bytea[], array['', '']::bytea[],
            array['', '']::bytea[]"
        );
        ("append", changes)
    } else if has("journal_floor AS f") {
        ("heads", format!("array['{room}']::uuid[]"))
    } else if has("asked (item)") {
        ("items", format!("'{room}', array[{items}]"))
    } else if has("asked (actor, op_id)") {
        (
            "operations",
            format!("'{room}', array[{actors}], array[{op_ids}]"),
        )
    } else if has("t.term = $6") {
        ("find by term", format!("{found}, 'to:ann', '\"to:ann\"'"))
    } else if has("j.kind = $5") {
        ("find", found)
    } else if has("j.seq > $3") && has("newer") {
        ("changes", format!("'{room}', 1048576, 50000"))
    } else if has("j.seq > $3") {
        ("log", format!("'{room}', 1048576, 50000"))
    } else {
        return None;
    })
}

/// Runs the statement, too, to count the rows that it visits, and rolls back its writes.
async fn explain(
    connection: &mut PgConnection,
    name: &str,
    arguments: &str,
    room: RoomId,
) -> Value {
    let run = async |connection: &mut PgConnection, text: String| {
        let rows = sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(connection);
        rows.await.unwrap()
    };
    run(connection, "BEGIN".to_owned()).await;
    // The slot before the append's.
    let plant = format!(
        "INSERT INTO journal VALUES ('{room}', 200000, '{room}', 'message', 'put', '{room}', 'before',
            '', 0, 200000, TRUE, 2, '{{}}')"
    );
    run(connection, plant).await;
    let text = format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE {name} ({arguments})");
    let rows = run(connection, text).await;
    run(connection, "ROLLBACK".to_owned()).await;
    let shown: String = rows[0].try_get_unchecked(0).unwrap();
    let explained: Value = serde_json::from_str(&shown).unwrap();
    explained[0].clone()
}

fn assert_is_bound(what: &str, explained: &Value) {
    assert_eq!(explained["JIT"], Value::Null, "{what}: {explained:#}");
    let plan = &explained["Plan"];
    let nodes = nodes(plan);
    for node in nodes {
        let kind = node["Node Type"].as_str().unwrap();
        assert!(!REFUSED.contains(&kind), "{what}: {explained:#}");
    }
    let visited = visited(plan);
    assert!(visited <= ROWS_VISITED_MAX, "{what}: {explained:#}");
}

fn nodes(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten();
    below.flat_map(nodes).chain([plan]).collect()
}

/// How many rows the plan's scans read, including those that they filtered out.
fn visited(plan: &Value) -> f64 {
    let number = |node: &Value, name: &str| node[name].as_f64().unwrap_or_default();
    let scans = nodes(plan)
        .into_iter()
        .filter(|node| node["Relation Name"].is_string());
    scans
        .map(|node| {
            let rows = number(node, "Actual Rows") + number(node, "Rows Removed by Filter");
            rows * number(node, "Actual Loops")
        })
        .sum()
}
