//! The journal's inner loops on `SQLite`, the store with the cheapest append: `cargo bench -p roost-server`.

use chrono::DateTime;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roost_schema::{Body, ItemId, Kind, Op, OpId, RoomId, Seq, UserId};
use roost_server::store::{
    Sql,
    journal::{Entry, Gate, Journal, OpenGate, RequestHash, SqlJournal, Terms},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::runtime::Runtime;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const PAGE_BYTES: usize = 1 << 20;

/// A message of an ordinary length.
fn entry(room: RoomId, seq: u64) -> Entry {
    let item = ItemId::generate();
    let text = "word ".repeat(40);
    Entry {
        room,
        seq: Seq(seq),
        item,
        kind: Kind::Message,
        op: Op::Put,
        body: Body::encode(&serde_json::json!({ "text": text })).expect("a body of ours is JSON"),
        actor: UserId::generate(),
        op_id: Some(OpId::from_kept(item.to_string())),
        request_hash: RequestHash([7; 32]),
        asked_hash: Some(RequestHash([8; 32])),
        at: DateTime::from_timestamp_millis(1_796_000_000_000).expect("a time in 2026"),
        born: Seq(seq),
        terms: Terms::default(),
        current: true,
    }
}

async fn open(folder: &std::path::Path) -> Arc<SqlJournal> {
    let file = folder.join("roost.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let sql = Sql::connect(&url).await.expect("a new database");
    sql.migrate()
        .await
        .expect("a new database takes the tables");
    SqlJournal::open(sql, &TaskTracker::new(), CancellationToken::new())
        .await
        .expect("a new database has a journal")
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = runtime.block_on(open(folder.path()));
    let gate: Arc<dyn Gate> = Arc::new(OpenGate);
    let mut group = criterion.benchmark_group("append");
    for entries in [1, 64] {
        let (room, head) = (RoomId::generate(), AtomicU64::new(0));
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            let batch = || {
                let first = head.fetch_add(entries, Relaxed) + 1;
                (first..first + entries)
                    .map(|seq| entry(room, seq))
                    .collect::<Vec<_>>()
            };
            let append = |batch: Vec<Entry>| {
                let appended = runtime.block_on(journal.append(room, &batch, &gate));
                assert_eq!(appended.expect("the append is answered").stop, None);
            };
            bencher.iter_batched(batch, append, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    const ENTRIES: u64 = 1_000;
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let journal = runtime.block_on(open(folder.path()));
    let gate: Arc<dyn Gate> = Arc::new(OpenGate);
    let room = RoomId::generate();
    let batch: Vec<_> = (1..=ENTRIES).map(|seq| entry(room, seq)).collect();
    runtime
        .block_on(journal.append(room, &batch, &gate))
        .expect("the append is answered");
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function(BenchmarkId::from_parameter(ENTRIES), |bencher| {
        bencher.iter(|| {
            let page = runtime.block_on(journal.log(room, Seq(0), PAGE_BYTES));
            assert!(!page.expect("the log is read").entries.is_empty());
        });
    });
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
