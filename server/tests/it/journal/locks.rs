//! An instance that froze or vanished in the middle of a write does not hold up the others for long: PostgreSQL ends
//! its locks within 5 s.

use super::{
    entries::{entry, open_gate},
    fault_proxy::{Fault, FaultProxy},
    stores::{self, Store},
};
use crate::support::{PASSWORD, World, origin};
use roost_schema::{InstanceId, Login, Register, RoomId, Secret, Seq};
use roost_server::{
    boot::boot,
    store::{
        Instances, NewInstance, Sql,
        journal::{Entry, Journal},
    },
};
use sea_orm::{ConnectionTrait, Statement};
use std::time::{Duration, Instant};
use tokio::{task::JoinSet, time::timeout};

/// How long the others may be held up; the promise is 5 s. The database's timers keep it (3 s for the transaction of a
/// silent instance, 4 s for a silent host), so a busy test host adds little. Five times the promise would hide a limit
/// of 10 s.
const KEPT_WAITING_MAX: Duration = Duration::from_secs(9);

/// Inserts a room's next entry in a transaction, as the journal of another release may do.
const INSERT_NEXT: &str = "\
    INSERT INTO journal (room, seq, item, kind, op, actor, request_hash, at_ms, born, is_current,
        size_bytes, body)
    SELECT room, seq + 1, item, kind, op, actor, request_hash, at_ms, born, is_current, size_bytes,
        body
    FROM journal WHERE room = $1";

/// Retries until the attempt succeeds, as a client or an orchestrator would, and prints how long it took.
async fn until_done(what: &str, mut attempt: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    let done = timeout(KEPT_WAITING_MAX, async {
        while !attempt().await {
            tokio::task::yield_now().await;
        }
    });
    assert!(
        done.await.is_ok(),
        "{what}: not within {KEPT_WAITING_MAX:?}"
    );
    println!("{what} after {:?}", began.elapsed());
}

/// Waits until the proxy has broken its request.
async fn until_broken(proxy: &FaultProxy) {
    crate::support::eventually(async || proxy.has_broken()).await;
}

/// Another instance's journal appends the second entry, to the slot that the first instance nearly took.
async fn another_writes_the_second(other: &dyn Journal, first: Entry) {
    let (room, second, gate) = (first.room, entry(first.room, 2), open_gate());
    until_done("the room was written", async || {
        let append = other.append(room, std::slice::from_ref(&second), &gate);
        append.await.is_ok_and(|appended| appended.committed == 1)
    })
    .await;
    let log = other.log(room, Seq::ZERO, usize::MAX).await.unwrap();
    assert_eq!(log.entries, [first, second]);
}

/// The server has executed the insert and waits for COMMIT; only its limit for idle transactions can end the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_written_though_an_instance_froze_before_it_committed_an_entry() {
    let store = Store::postgres().await;
    let proxy = FaultProxy::start(&store.url()).await;
    let frozen = Sql::connect(&proxy.url(&store.url())).await.unwrap();
    let other = store.open().await;
    let room = RoomId::generate();
    let first = entry(room, 1);
    let gate = open_gate();
    let append = other.append(room, std::slice::from_ref(&first), &gate);
    append.await.unwrap();

    let insert =
        Statement::from_sql_and_values(frozen.backend(), INSERT_NEXT, [room.as_uuid().into()]);
    let transaction = frozen.begin().await.unwrap();
    let inserted = transaction.execute_raw(insert).await.unwrap();
    assert_eq!(inserted.rows_affected(), 1);
    proxy.break_next(b"COMMIT", Fault::SilenceBefore);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { transaction.commit().await.is_ok() });
    until_broken(&proxy).await;
    another_writes_the_second(&*other, first).await;
    drop(tasks);
    store.remove().await;
}

/// The server has executed the append and waits for Sync; only its keepalive can end the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_written_though_an_instance_vanished_between_execute_and_sync() {
    let store = Store::postgres().await;
    let proxy = FaultProxy::start(&store.url()).await;
    let lost = stores::open(&proxy.url(&store.url())).await;
    let other = store.open().await;
    let room = RoomId::generate();
    let first = entry(room, 1);
    let gate = open_gate();
    let append = lost.append(room, std::slice::from_ref(&first), &gate);
    append.await.unwrap();

    proxy.break_next(b"number 2\"", Fault::VanishBeforeSync);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { lost.append(room, &[entry(room, 2)], &open_gate()).await });
    until_broken(&proxy).await;
    another_writes_the_second(&*other, first).await;
    drop(tasks);
    store.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_though_an_instance_froze_before_it_committed_their_sign_in() {
    let world = World::on_postgres().await;
    let proxy = FaultProxy::start(world.database_url()).await;
    let frozen = world.instance_at(&proxy.url(world.database_url())).await;
    let here = world.instance().await;
    let email = "ann@example.com";
    let register = Register {
        email: email.into(),
        password: Secret::new(PASSWORD),
        name: "Ann".into(),
        op_id: None,
    };
    here.app.register(&origin(), register).await.unwrap();
    let login = || Login {
        email: email.into(),
        password: Secret::new(PASSWORD),
    };

    proxy.break_next(b"COMMIT", Fault::SilenceBefore);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { frozen.app.login(&origin(), login()).await.is_ok() });
    until_broken(&proxy).await;
    until_done("they were signed in", async || {
        here.app.login(&origin(), login()).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_boots_though_another_froze_before_it_committed_its_admission() {
    let world = World::on_postgres().await;
    let proxy = FaultProxy::start(world.database_url()).await;
    let sql = Sql::connect(&proxy.url(world.database_url())).await;
    let frozen = Instances::new(sql.unwrap());

    proxy.break_next(b"COMMIT", Fault::SilenceBefore);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let new = NewInstance {
            id: InstanceId::generate(),
            name: "frozen".into(),
            version: "0".into(),
            has_redis: false,
            speaks: 0,
        };
        frozen.admit(&new).await.is_ok()
    });
    until_broken(&proxy).await;
    until_done("an instance booted", async || {
        boot(world.config(&[])).await.is_ok()
    })
    .await;
}

async fn setting(sql: &Sql, name: &str) -> String {
    let question = format!("SELECT current_setting('{name}') AS value");
    let question = Statement::from_string(sql.backend(), question);
    let row = sql.read.query_one_raw(question).await.unwrap().unwrap();
    row.try_get("", "value").unwrap()
}

/// Also over a Unix socket, where the server ignores the TCP settings.
#[tokio::test]
async fn every_connection_says_when_to_give_it_up() {
    let store = Store::postgres().await;
    let over_tcp = store.sql().await;
    let folder = setting(&over_tcp, "unix_socket_directories").await;
    let joint = if store.url().contains('?') { '&' } else { '?' };
    let url = format!("{}{joint}host={folder}", store.url());
    let over_socket = Sql::connect(&url).await.unwrap();
    for (sql, keepalive) in [
        (&over_tcp, ["2", "1", "2", "4000"]),
        (&over_socket, ["0"; 4]),
    ] {
        let limit = setting(sql, "idle_in_transaction_session_timeout").await;
        assert_eq!(
            (limit.as_str(), setting(sql, "jit").await.as_str()),
            ("3s", "off")
        );
        for (name, expected) in [
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_keepalives_count",
            "tcp_user_timeout",
        ]
        .iter()
        .zip(keepalive)
        {
            assert_eq!(setting(sql, name).await, expected, "{name}");
        }
    }
    drop((over_tcp, over_socket));
    store.remove().await;
}
