//! Appends that had to wait: nothing is sent through a gate that was shut meanwhile, and no caller waits for ever.

use super::{
    entries::{entry, open_gate},
    stores::{self, Store},
};
use crate::support::{DEADLINE, TcpProxy};
use roost_schema::{RoomId, Seq};
use roost_server::store::journal::{Entry, Gate, Journal, JournalError};
use sea_orm::{ConnectionTrait, Statement};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::time::timeout;

#[derive(Default)]
struct Door {
    is_shut: AtomicBool,
    /// The duration of the last question to the gate.
    asked_for: Mutex<Duration>,
}

impl Gate for Door {
    fn is_open_for(&self, longest: Duration) -> bool {
        *self.asked_for.lock().unwrap() = longest;
        !self.is_shut.load(Ordering::Acquire)
    }
}

async fn head(journal: &dyn Journal, room: RoomId) -> Seq {
    journal.heads(&[room]).await.unwrap().rooms[&room].head
}

/// Begins an append, shuts its gate while it waits, and ends the wait.
async fn append_shut_meanwhile(
    journal: &dyn Journal,
    second: &Entry,
    waits: impl Future<Output = ()>,
    let_go: impl AsyncFnOnce(),
) {
    let door = Arc::new(Door::default());
    let gate: Arc<dyn Gate> = Arc::clone(&door) as Arc<dyn Gate>;
    let append = journal.append(second.room, std::slice::from_ref(second), &gate);
    let meanwhile = async {
        waits.await;
        door.is_shut.store(true, Ordering::Release);
        let_go().await;
    };
    let (appended, ()) = tokio::join!(timeout(DEADLINE, append), meanwhile);
    let appended = appended.expect("it is answered");
    assert!(
        matches!(appended, Err(JournalError::Fenced)),
        "{appended:?}"
    );
    assert_eq!(head(journal, second.room).await, Seq(1));
    let gate = open_gate();
    let now_open = journal.append(second.room, std::slice::from_ref(second), &gate);
    assert_eq!(now_open.await.unwrap().committed, 1);
}

#[tokio::test]
async fn mongo_sends_nothing_through_a_gate_that_was_shut_while_it_read() {
    let store = Store::mongo().await;
    let proxy = TcpProxy::to(&store.url()).await;
    let journal = stores::open(&proxy.url()).await;
    let room = RoomId::generate();
    journal
        .append(room, &[entry(room, 1)], &open_gate())
        .await
        .unwrap();
    // The answer to the read before the insert hangs in the proxy.
    proxy.freeze();
    let waits = proxy.holds_something();
    append_shut_meanwhile(&*journal, &entry(room, 2), waits, async || proxy.mend()).await;
    store.remove().await;
}

#[tokio::test]
async fn postgres_sends_nothing_through_a_gate_that_was_shut_while_it_prepared() {
    let store = Store::postgres().await;
    let room = RoomId::generate();
    let elsewhere = store.open().await;
    elsewhere
        .append(room, &[entry(room, 1)], &open_gate())
        .await
        .unwrap();
    let proxy = TcpProxy::to(&store.url()).await;
    let journal = stores::open(&proxy.url()).await;
    // A new connection prepares the statement first, and the answer to that hangs in the proxy.
    proxy.freeze_behind(b"WITH written AS");
    let waits = proxy.holds_something();
    append_shut_meanwhile(&*journal, &entry(room, 2), waits, async || proxy.mend()).await;
    store.remove().await;
}

/// The server runs a statement that it has received, as long as it considers the sender's host alive.
#[tokio::test]
async fn postgres_asks_its_gate_for_the_longest_that_the_statement_may_take() {
    let store = Store::postgres().await;
    let (journal, sql) = store.open_with_sql().await;
    let question = "SELECT sum(setting::bigint)::bigint AS longest_ms FROM pg_settings
        WHERE name IN ('tcp_user_timeout', 'statement_timeout')";
    let question = Statement::from_string(sql.backend(), question);
    let row = sql.read.query_one_raw(question).await.unwrap().unwrap();
    let longest_ms: i64 = row.try_get("", "longest_ms").unwrap();
    let longest = Duration::from_millis(longest_ms.unsigned_abs());

    let door = Arc::new(Door::default());
    let gate: Arc<dyn Gate> = Arc::clone(&door) as Arc<dyn Gate>;
    let room = RoomId::generate();
    let append = journal.append(room, &[entry(room, 1)], &gate).await;
    assert_eq!(append.unwrap().committed, 1);
    let asked_for = *door.asked_for.lock().unwrap();
    assert!(asked_for >= longest, "{asked_for:?}, not {longest:?}");
    store.remove().await;
}

#[tokio::test]
async fn sqlite_writes_nothing_through_a_gate_that_was_shut_while_it_waited_for_its_turn() {
    let store = Store::sqlite().await;
    let journal = store.open().await;
    let room = RoomId::generate();
    journal
        .append(room, &[entry(room, 1)], &open_gate())
        .await
        .unwrap();
    let writer = store.sql().await;
    let turn = writer.begin().await.unwrap();
    let waits = tokio::task::yield_now();
    append_shut_meanwhile(&*journal, &entry(room, 2), waits, async || {
        turn.rollback().await.unwrap();
    })
    .await;
    store.remove().await;
}

/// A disk that hangs in COMMIT: the batch in the commit has an unknown outcome, and waiting batches are never written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_keeps_nobody_waiting() {
    let store = Store::sqlite().await;
    let (journal, sql) = store.open_with_sql().await;
    let (room, other) = (RoomId::generate(), RoomId::generate());
    journal
        .append(room, &[entry(room, 1)], &open_gate())
        .await
        .unwrap();
    let (is_hanging, mut hangs) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = mpsc::channel::<()>();
    {
        let pool = sql.write.get_sqlite_connection_pool();
        let mut connection = pool.acquire().await.unwrap();
        let mut handle = connection.lock_handle().await.unwrap();
        handle.set_commit_hook(move || {
            let _ = is_hanging.send(());
            // Blocks until the test releases it; later commits pass at once.
            let _ = released.recv();
            true
        });
    }
    let (second, behind) = (entry(room, 2), entry(other, 1));
    let gate = open_gate();
    let hanging = journal.append(room, std::slice::from_ref(&second), &gate);
    let waiting = async {
        hangs.recv().await.unwrap();
        journal
            .append(other, std::slice::from_ref(&behind), &gate)
            .await
    };
    let both = timeout(DEADLINE, async { tokio::join!(hanging, waiting) }).await;
    let (hanging, waiting) = both.expect("both are answered");
    assert!(
        matches!(hanging, Err(JournalError::OutcomeUnknown(_))),
        "{hanging:?}"
    );
    assert!(
        matches!(waiting, Err(JournalError::Unavailable(_))),
        "{waiting:?}"
    );
    drop(release);
    let third = journal.append(room, &[entry(room, 3)], &gate).await;
    assert_eq!(third.unwrap().committed, 1, "the second was written");
    assert_eq!(head(&*journal, other).await, Seq::ZERO);
    store.remove().await;
}

/// When its monitor gives up the server, the driver interrupts waiting calls, which may have been sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongo_calls_an_insert_unknown_that_its_monitor_has_interrupted() {
    let store = Store::mongo().await;
    let proxy = TcpProxy::to(&store.url()).await;
    let journal = stores::open_mongo_with_quick_monitor(&proxy.url()).await;
    let room = RoomId::generate();
    journal
        .append(room, &[entry(room, 1)], &open_gate())
        .await
        .unwrap();
    proxy.freeze_behind(b"insert\0");
    let second = entry(room, 2);
    let gate = open_gate();
    let append = journal.append(room, std::slice::from_ref(&second), &gate);
    let appended = timeout(DEADLINE, append).await.expect("it is answered");
    assert!(
        matches!(appended, Err(JournalError::OutcomeUnknown(_))),
        "{appended:?}"
    );
    let written = store.open().await;
    assert_eq!(head(&*written, room).await, Seq(2));
    store.remove().await;
}
