//! Connections that break during a write: the outcome is never guessed, and reading again shows it.

use super::{
    entries::{entry, open_gate, run},
    fault_proxy::{Fault, FaultProxy},
    stores::{self, Store},
};
use roost_schema::{RoomId, Seq};
use roost_server::store::journal::{JournalError, Stop};
use sea_orm::{ConnectionTrait, TransactionTrait};
use std::time::Duration;

on!([postgres, mongo] network:
    a_commit_that_was_never_heard_is_unknown,
    a_commit_that_was_not_answered_is_unknown_and_reading_tells,
    a_server_that_falls_silent_is_waited_for_only_so_long,
    a_server_that_is_not_there_wrote_nothing,
);

/// The body of entry 2, in the form in which the append's statement carries it.
const ENTRY_TWO: &[u8] = b"number 2\"";

mod network {
    use super::*;

    /// The bytes on the wire that make a batch durable.
    fn commit_request(store: &Store) -> &'static [u8] {
        if store.is_sql() {
            ENTRY_TWO
        } else {
            b"insert\0"
        }
    }

    /// Breaks the commit of entry 2; answers whether the journal has the entry.
    async fn breaks(store: &Store, fault: Fault) -> bool {
        let proxy = FaultProxy::start(&store.url()).await;
        let journal = stores::open(&proxy.url(&store.url())).await;
        let room = RoomId::generate();
        journal
            .append(room, &[entry(room, 1)], &open_gate())
            .await
            .unwrap();

        proxy.break_next(commit_request(store), fault);
        let second = entry(room, 2);
        let broken = journal
            .append(room, std::slice::from_ref(&second), &open_gate())
            .await;
        assert!(proxy.has_broken());
        assert!(
            matches!(broken, Err(JournalError::OutcomeUnknown(_))),
            "{broken:?}"
        );

        let operation = (second.actor, second.op_id.clone().unwrap());
        let found = journal.operations(room, &[operation]).await.unwrap();
        let head = journal.heads(&[room]).await.unwrap().rooms[&room].head;
        let again = journal
            .append(room, std::slice::from_ref(&second), &open_gate())
            .await
            .unwrap();
        if found.is_empty() {
            assert_eq!((head, again.committed, again.stop), (Seq(1), 1, None));
        } else {
            assert_eq!(found, [second]);
            assert_eq!((head, again.committed), (Seq(2), 0));
            assert!(matches!(
                again.stop,
                Some(Stop::SlotTaken | Stop::OperationKnown)
            ));
        }
        let third = journal
            .append(room, &[entry(room, 3)], &open_gate())
            .await
            .unwrap();
        assert_eq!(third.committed, 1);
        !found.is_empty()
    }

    pub(super) async fn a_commit_that_was_never_heard_is_unknown(store: &Store) {
        assert!(!breaks(store, Fault::CutBefore).await);
    }

    pub(super) async fn a_commit_that_was_not_answered_is_unknown_and_reading_tells(store: &Store) {
        assert!(breaks(store, Fault::CutAfter).await);
    }

    pub(super) async fn a_server_that_falls_silent_is_waited_for_only_so_long(store: &Store) {
        assert!(breaks(store, Fault::Silence).await);
    }

    pub(super) async fn a_server_that_is_not_there_wrote_nothing(store: &Store) {
        let proxy = FaultProxy::start(&store.url()).await;
        let journal = stores::open(&proxy.url(&store.url())).await;
        let room = RoomId::generate();
        journal
            .append(room, &[entry(room, 1)], &open_gate())
            .await
            .unwrap();
        drop(proxy);
        // A connection that was used within a second is not pinged, and an append on a dead one has an unknown outcome.
        tokio::time::sleep(PINGED_AFTER_IDLE).await;
        let refused = journal.append(room, &[entry(room, 2)], &open_gate()).await;
        assert!(
            matches!(refused, Err(JournalError::Unavailable(_))),
            "{refused:?}"
        );
        let unread = journal.heads(&[room]).await;
        assert!(
            matches!(unread, Err(JournalError::Unavailable(_))),
            "{unread:?}"
        );
    }
}

/// How long a connection is idle before the pool pings it.
const PINGED_AFTER_IDLE: Duration = Duration::from_secs(1);

/// After a restart of the database every pooled connection is dead; no write may be risked on one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_pooled_connections_are_replaced_before_anything_is_written() {
    let store = Store::postgres().await;
    let journal = store.open().await;
    let rooms: Vec<_> = (0..8).map(|_| RoomId::generate()).collect();
    let write = async |first| {
        let writes = rooms.iter().map(|room| {
            let (room, journal) = (*room, journal.clone());
            async move {
                journal
                    .append(room, &run(room, first, 2), &open_gate())
                    .await
            }
        });
        for appended in futures::future::join_all(writes).await {
            assert_eq!(appended.unwrap().committed, 2);
        }
    };
    write(1).await;
    let kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let sql = store.sql().await;
    sql.write.execute_unprepared(kill).await.unwrap();
    // A connection that was used within a second is not pinged, because that would cost every append a round trip.
    tokio::time::sleep(PINGED_AFTER_IDLE).await;
    write(3).await;
    let heads = journal.heads(&rooms).await.unwrap();
    assert!(heads.rooms.values().all(|room| room.head == Seq(4)));
    store.remove().await;
}

/// The server ends an append that waits for a rival, by a statement timeout or by ending its connection. After the
/// timeout nothing was written; after the other the outcome is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_error_of_the_statement_means_that_nothing_was_written() {
    let store = Store::postgres().await;
    let (journal, sql) = (store.open().await, store.sql().await);
    let room = RoomId::generate();
    let append = async |seq| {
        journal
            .append(room, &[entry(room, seq)], &open_gate())
            .await
    };
    append(1).await.unwrap();
    let rival = sql.write.begin().await.unwrap();
    let unlimited = "SET LOCAL idle_in_transaction_session_timeout = 0";
    rival.execute_unprepared(unlimited).await.unwrap();
    let take = format!(
        "INSERT INTO journal SELECT room, 2, item, kind, op, actor, 'rival', request_hash, at_ms, 2,
            is_current, size_bytes, body FROM journal WHERE room = '{room}'"
    );
    rival.execute_unprepared(&take).await.unwrap();

    let waited = append(2).await;
    assert!(
        matches!(waited, Err(JournalError::Unavailable(_))),
        "{waited:?}"
    );
    // CASE fixes the order of the conditions: with AND the server might call the function for every connection.
    let end = "SELECT pid FROM pg_stat_activity WHERE CASE
        WHEN wait_event_type = 'Lock' AND datname = current_database()
        THEN pg_terminate_backend(pid) ELSE FALSE END";
    // Outside of the rival's transaction, which would go on seeing the connections of its first query.
    let ending = async {
        loop {
            sql.write.execute_unprepared(end).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::select! {
        ended = append(2) => ended,
        () = ending => unreachable!("it goes on until the append has ended"),
    };
    assert!(
        matches!(ended, Err(JournalError::OutcomeUnknown(_))),
        "{ended:?}"
    );
    rival.rollback().await.unwrap();
    assert_eq!(append(2).await.unwrap().committed, 1);
    store.remove().await;
}
