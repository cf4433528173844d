//! Rival writers: several tasks with their own connections, several processes, and processes that are killed in the
//! middle.

use super::{
    entries::{append, change, deletion, run},
    finding::trim_all,
    stores::{self, Store},
    writer::{Ack, assert_sound, write},
};
use roost_schema::RoomId;
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};

const OPERATIONS_EACH: u64 = 12;
const PATIENCE: Duration = Duration::from_mins(2);
/// Makes the test binary run as a writer: `url room name count`.
const WRITER: &str = "ROOST_TEST_JOURNAL_WRITER";

on!([sqlite, postgres, mongo] contract:
    rival_tasks_share_one_order,
    killed_writers_lose_nothing_and_leave_no_hole,
    two_trims_at_once_empty_each_entry_once,
);
mod processes {
    use super::network;

    on!([postgres, mongo] network:
        rival_processes_share_one_order,
    );
}

mod contract {
    use super::*;

    pub(super) async fn rival_tasks_share_one_order(store: &Store) {
        let room = RoomId::generate();
        let mut writers = JoinSet::new();
        for number in 0..4 {
            let journal = store.open().await;
            writers.spawn(async move {
                let mut acks = Vec::new();
                let name = format!("task{number}");
                write(&*journal, room, &name, OPERATIONS_EACH, |ack| {
                    acks.push(ack);
                })
                .await;
                acks
            });
        }
        let acks = writers.join_all().await.concat();
        assert_eq!(acks.len() as u64, 4 * OPERATIONS_EACH);
        let log = assert_sound(store, room, &acks).await;
        assert_eq!(log.len(), acks.len());
    }

    pub(super) async fn two_trims_at_once_empty_each_entry_once(store: &Store) {
        const ITEMS: u64 = 1_000;
        let (east, west) = (store.open().await, store.open().await);
        let room = RoomId::generate();
        let first = run(room, 1, ITEMS);
        // Half of the items are changed, half are deleted: 1,000 superseded entries and 500 tombstones.
        let second: Vec<_> = first
            .iter()
            .zip(ITEMS + 1..)
            .map(|(entry, seq)| match seq % 2 {
                0 => change(entry, seq),
                _ => deletion(entry, seq),
            })
            .collect();
        for batch in first.chunks(200).chain(second.chunks(200)) {
            append(&*east, batch).await;
        }
        let trimmed = tokio::join!(east.trim(trim_all()), west.trim(trim_all()));
        let emptied = (trimmed.0.unwrap(), trimmed.1.unwrap());
        assert_eq!(emptied.0 + emptied.1, ITEMS + ITEMS / 2, "{emptied:?}");
        assert_eq!(east.trim(trim_all()).await.unwrap(), 0);
    }

    /// One writer after the other, each killed with an operation in flight.
    pub(super) async fn killed_writers_lose_nothing_and_leave_no_hole(store: &Store) {
        let room = RoomId::generate();
        let mut acks = Vec::new();
        for number in 0..4 {
            let mut writer = Writer::start(&store.url(), room, &format!("killed{number}"), 100_000);
            for _ in 0..5 {
                acks.extend(writer.next().await);
            }
            acks.extend(writer.kill().await);
        }
        assert!(acks.len() >= 20);
        assert_sound(store, room, &acks).await;
        let mut last = Writer::start(&store.url(), room, "last", 4);
        while let Some(ack) = last.next().await {
            acks.push(ack);
        }
        assert_sound(store, room, &acks).await;
    }
}

mod network {
    use super::*;

    pub(super) async fn rival_processes_share_one_order(store: &Store) {
        let room = RoomId::generate();
        let mut readers = JoinSet::new();
        for number in 0..3 {
            let name = format!("process{number}");
            let mut writer = Writer::start(&store.url(), room, &name, OPERATIONS_EACH);
            readers.spawn(async move {
                let mut acks = Vec::new();
                while let Some(ack) = writer.next().await {
                    acks.push(ack);
                }
                acks
            });
        }
        let mut doomed = Writer::start(&store.url(), room, "doomed", 100_000);
        let mut acks: Vec<Ack> = doomed.next().await.into_iter().collect();
        acks.extend(doomed.kill().await);
        let survivors = readers.join_all().await.concat();
        assert_eq!(survivors.len() as u64, 3 * OPERATIONS_EACH);
        acks.extend(survivors);
        assert_sound(store, room, &acks).await;
    }
}

/// A process that runs [`writer_process`].
struct Writer {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(url: &str, room: RoomId, name: &str, count: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "journal::rivals::writer_process"])
            .env(WRITER, format!("{url} {room} {name} {count}"))
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next acknowledgement; `None` when the process has ended, successfully.
    async fn next(&mut self) -> Option<Ack> {
        let next = tokio::time::timeout(PATIENCE, self.next_line()).await;
        let next = next.expect("the writer says nothing");
        if next.is_none() {
            assert!(self.process.wait().await.unwrap().success());
        }
        next
    }

    async fn next_line(&mut self) -> Option<Ack> {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if let Some(ack) = parse(&line) {
                return Some(ack);
            }
        }
        None
    }

    /// Kills with SIGKILL; answers the acknowledgements that it had still printed.
    async fn kill(mut self) -> Vec<Ack> {
        self.process.kill().await.unwrap();
        let mut acks = Vec::new();
        while let Some(ack) = self.next_line().await {
            acks.push(ack);
        }
        acks
    }
}

/// Parses a line. A line that the kill has cut is no acknowledgement.
fn parse(line: &str) -> Option<Ack> {
    let mut words = line.strip_prefix("acknowledged ")?.split(' ');
    let (op_id, seq, end) = (words.next()?, words.next()?, words.next()?);
    (end == "end").then(|| Ack {
        op_id: op_id.to_owned(),
        seq: seq.parse().unwrap(),
    })
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child process is told by a variable what to do"
)]
async fn writer_process() {
    let Ok(task) = std::env::var(WRITER) else {
        return writes_alone().await;
    };
    let [url, room, name, count] = task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let _lock = roost_server::store::lock_data(url).unwrap();
    let journal = stores::open(url).await;
    let (room, count) = (room.parse().unwrap(), count.parse().unwrap());
    // The test harness has begun a line of its own.
    println!();
    write(&*journal, room, name, count, |ack| {
        println!("acknowledged {} {} end", ack.op_id, ack.seq);
    })
    .await;
}

/// Without instructions the process does the same on its own store.
async fn writes_alone() {
    let store = Store::sqlite().await;
    let journal = stores::open(&store.url()).await;
    let (room, mut acks) = (RoomId::generate(), Vec::new());
    write(&*journal, room, "alone", 3, |ack| acks.push(ack)).await;
    assert_eq!(acks.len(), 3);
    assert_sound(&store, room, &acks).await;
}

/// Two instances on one file would each act as the only one.
#[tokio::test]
async fn a_second_process_on_one_sqlite_file_is_refused() {
    let store = Store::sqlite().await;
    let lock = roost_server::store::lock_data(&store.url())
        .unwrap()
        .unwrap();
    let refused = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "journal::rivals::writer_process"])
        .env(
            WRITER,
            format!("{} {} second 1", store.url(), RoomId::generate()),
        )
        .output()
        .await
        .unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stdout) + String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("another process uses this SQLite database"),
        "{said}"
    );
    drop(lock);
    let mut writer = Writer::start(&store.url(), RoomId::generate(), "alone", 1);
    assert!(writer.next().await.is_some());
}
