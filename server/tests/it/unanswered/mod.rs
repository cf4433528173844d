//! Writes whose append gets no answer, waits too long, or panics: the reply says "nothing was written" only when it is
//! true, and a retry under the same operation id writes once.

mod faulty_journal;
mod unknown_outcomes;

use crate::support::{DEADLINE, redis_url};
use faulty_journal::{Fault, FaultyJournal};
use roost_schema::{
    Body, ErrorCode, InstanceId, ItemId, Kind, MemberState, Op, OpId, Role, RoomId, Seq, UserId,
};
use roost_server::{
    live::{
        BootTime, Change, Feed, Live, LiveError, LiveRoom, LocalPresence, NodeContext, Redis,
        RedisBackplane, Refusal, Write, Written,
    },
    store::{
        Sql,
        journal::{Entry, Gate, Journal, OpenGate, RequestHash, SqlJournal, Terms},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// How long the mailbox may take to find the outcome of a write; the promise is two seconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// How soon the backplane delivers a message.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

/// An instance on a faulty journal, and a room with one member.
struct World {
    journal: Arc<FaultyJournal>,
    sound: Arc<SqlJournal>,
    live: Arc<Live>,
    room: LiveRoom,
    author: UserId,
    tasks: TaskTracker,
    cancel: CancellationToken,
    _stop: DropGuard,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::at(|_, _| NodeContext::alone()).await
    }

    async fn at(place: impl Fn(&TaskTracker, &CancellationToken) -> NodeContext) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/journal.db?mode=rwc", folder.path().display());
        let sql = Sql::connect(&url).await.unwrap();
        sql.migrate().await.unwrap();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let sound = SqlJournal::open(sql, &tasks, cancel.clone()).await.unwrap();
        let journal = FaultyJournal::upon(sound.clone());
        let place = place(&tasks, &cancel);
        let live = Live::new(journal.clone(), place, tasks.clone(), cancel.clone());
        let room = live.room(RoomId::generate());
        let world = Self {
            journal,
            sound,
            live,
            room,
            author: UserId::generate(),
            tasks,
            _stop: cancel.clone().drop_guard(),
            cancel,
            _folder: folder,
        };
        let admit = world.room.write(membership(world.author, world.room.id()));
        assert_eq!(admit.await.unwrap().entry.seq, Seq(1));
        world
    }

    /// Writes a message with its text as the operation id.
    async fn write(&self, text: &str) -> Result<Written, LiveError> {
        let write = self.room.write(message(self.author, text));
        timeout(DEADLINE, write).await.expect("it is answered")
    }

    /// A reader who is up to date.
    async fn reader(&self) -> Feed {
        let mut feed = self.room.clone().watch(self.author, None).await.unwrap();
        feed.next().await.unwrap();
        feed
    }

    /// The seqs of an operation's entries; more than one would be a doubled write.
    async fn seqs_of(&self, text: &str) -> Vec<Seq> {
        let log = self
            .sound
            .log(self.room.id(), Seq::ZERO, usize::MAX / 2)
            .await;
        let is_it = |entry: &Entry| entry.op_id.as_ref().is_some_and(|it| *it == op_id(text));
        let entries = log.unwrap().entries.into_iter();
        entries.filter(is_it).map(|entry| entry.seq).collect()
    }
}

fn op_id(text: &str) -> OpId {
    text.replace(' ', "-").parse().unwrap()
}

fn message(author: UserId, text: &str) -> Write {
    message_of(author, text, ItemId::generate())
}

fn message_of(author: UserId, text: &str, item: ItemId) -> Write {
    let state = serde_json::json!({ "text": text });
    let body = Body::encode(&state).unwrap();
    write(author, text, item, Kind::Message, body)
}

const NOT_THERE: Refusal = Refusal {
    code: ErrorCode::NotFound,
    sentence: "there is no such message",
};

fn membership(user_id: UserId, room_id: RoomId) -> Write {
    let state = MemberState {
        room_id,
        user_id,
        role: Role::Editor,
    };
    let (item, body) = (ItemId::of_member(user_id), Body::encode(&state).unwrap());
    write(user_id, "the first", item, Kind::Member, body)
}

fn write(actor: UserId, text: &str, item: ItemId, kind: Kind, body: Body) -> Write {
    Write {
        actor,
        op_id: Some(op_id(text)),
        request_hash: RequestHash([1; 32]),
        asked_hash: RequestHash([1; 32]),
        event: None,
        item,
        is_new: true,
        bytes: text.len(),
        judge: Box::new(move |_| {
            let (op, body) = (Op::Put, body.clone());
            Ok(Change {
                item,
                kind: kind.clone(),
                op,
                body,
                terms: Terms::default(),
            })
        }),
    }
}

/// The seq of the next change that a reader receives.
async fn next_seq(feed: &mut Feed) -> Seq {
    loop {
        let frame = timeout(DEADLINE, feed.next()).await.expect("a frame comes");
        if let Some(event) = frame.unwrap().unwrap().events.first() {
            return event.seq;
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_and_told() {
    let world = World::new().await;
    let mut reader = world.reader().await;
    world.journal.next(Fault::LostAnswer);
    let written = world.write("the second").await.unwrap();
    assert_eq!((written.entry.seq, written.is_retry), (Seq(2), false));
    assert_eq!(next_seq(&mut reader).await, Seq(2));
    assert!(world.write("the second").await.unwrap().is_retry);
    assert_eq!(world.seqs_of("the second").await, [Seq(2)]);
}

#[tokio::test]
async fn a_write_that_never_came_is_sent_again() {
    let world = World::new().await;
    world.journal.next(Fault::NeverSent);
    assert_eq!(world.write("the second").await.unwrap().entry.seq, Seq(2));
    assert_eq!(world.seqs_of("the second").await, [Seq(2)]);
}

#[tokio::test]
async fn a_write_that_comes_late_has_one_effect() {
    for late_ms in [0, 1, 5, 20, 100] {
        let world = World::new().await;
        world
            .journal
            .next(Fault::Late(Duration::from_millis(late_ms)));
        let first = world.write("the second").await;
        assert!(
            matches!(first, Ok(_) | Err(LiveError::OutcomeUnknown)),
            "{first:?}"
        );
        world.journal.late_is_over().await;
        let again = world.write("the second").await.unwrap();
        assert_eq!(world.seqs_of("the second").await, [again.entry.seq]);
    }
}

#[tokio::test]
async fn a_slot_that_another_took_says_that_nothing_was_written() {
    let world = World::new().await;
    world.journal.next(Fault::TakenByAnother);
    assert_eq!(world.write("the second").await.unwrap().entry.seq, Seq(3));
    assert_eq!(world.seqs_of("the second").await, [Seq(3)]);
}

#[tokio::test]
async fn what_cannot_be_looked_up_stays_unknown() {
    let world = World::new().await;
    world.journal.next(Fault::SilentAfterwards);
    let asked = tokio::time::Instant::now();
    let answer = world.write("the second").await;
    assert!(
        matches!(answer, Err(LiveError::OutcomeUnknown)),
        "{answer:?}"
    );
    assert!(asked.elapsed() < SETTLED_WITHIN);
    world.journal.speak();
    let again = world.write("the second").await.unwrap();
    assert!(again.is_retry);
    assert_eq!(world.seqs_of("the second").await, [again.entry.seq]);
}

/// A write that was sent twice may have been written, so no reply may say that it was not.
#[tokio::test]
async fn what_was_sent_twice_in_vain_stays_unknown() {
    let world = World::new().await;
    world.journal.next(Fault::NeverSent);
    world.journal.next(Fault::NeverSent);
    let answer = world.write("the second").await;
    assert!(
        matches!(answer, Err(LiveError::OutcomeUnknown)),
        "{answer:?}"
    );
    assert_eq!(world.write("the second").await.unwrap().entry.seq, Seq(2));
}

#[tokio::test]
async fn a_room_outlives_a_panic_of_its_mailbox() {
    let world = World::new().await;
    let mut reader = world.reader().await;
    world.journal.next(Fault::Panic);
    let answer = world.write("the second").await;
    assert!(
        matches!(answer, Err(LiveError::OutcomeUnknown)),
        "{answer:?}"
    );
    assert_eq!(world.write("the second").await.unwrap().entry.seq, Seq(2));
    assert_eq!(next_seq(&mut reader).await, Seq(2));
    world.room.view().await.unwrap();
}

#[tokio::test]
async fn a_fence_that_shuts_while_the_journal_waits_lets_nothing_through() {
    let world = World::new().await;
    assert!(!world.live.fence().polled(BootTime::now()));
    world.write("in time").await.unwrap();
    // No task reads the revocations any more, so the fence is about to shut.
    world.journal.next(Fault::WaitUntilShut);
    let item = ItemId::generate();
    let late = message_of(world.author, "too late", item);
    let answer = timeout(DEADLINE, world.room.write(late)).await.unwrap();
    assert!(matches!(answer, Err(LiveError::Fenced)), "{answer:?}");
    assert!(
        !world.live.fence().is_shut(),
        "it is shut for what would outlast it"
    );
    assert!(world.seqs_of("too late").await.is_empty());

    world.live.fence().polled(BootTime::now());
    let change = Write {
        is_new: false,
        judge: Box::new(move |view| match view.item(item) {
            Some(entry) => panic!("judged by what was not written: {entry:?}"),
            None => Err(NOT_THERE),
        }),
        ..message_of(world.author, "a change", item)
    };
    let answer = timeout(DEADLINE, world.room.write(change)).await.unwrap();
    assert!(matches!(answer, Err(LiveError::Refused(_))), "{answer:?}");
    world.write("too late").await.unwrap();
}

#[tokio::test]
async fn a_panicking_gate_does_not_end_the_writer() {
    struct Panicking;
    impl Gate for Panicking {
        fn is_open_for(&self, _: Duration) -> bool {
            panic!("a gate of a test")
        }
    }
    let world = World::new().await;
    let room = world.room.id();
    let log = world
        .sound
        .log(room, Seq::ZERO, usize::MAX / 2)
        .await
        .unwrap();
    let second = Entry {
        seq: Seq(2),
        item: ItemId::generate(),
        born: Seq(2),
        op_id: Some(op_id("the second")),
        ..log.entries[0].clone()
    };
    let gate: Arc<dyn Gate> = Arc::new(Panicking);
    let batch = std::slice::from_ref(&second);
    let panicked = world.sound.append(room, batch, &gate).await;
    assert!(panicked.is_err(), "{panicked:?}");
    let gate: Arc<dyn Gate> = Arc::new(OpenGate);
    let appended = world.sound.append(room, batch, &gate).await.unwrap();
    assert_eq!(appended.committed, 1);
}

/// The journal hangs and the backplane works: readers receive the changes of other instances.
#[tokio::test]
async fn a_waiting_append_keeps_nobody_from_hearing() {
    let prefix = format!("test-{}", uuid::Uuid::now_v7().simple());
    let place = |tasks: &TaskTracker, cancel: &CancellationToken| {
        let (id, redis) = (
            InstanceId::generate(),
            Redis::open(&redis_url(), &prefix).unwrap(),
        );
        let backplane = RedisBackplane::start(redis, id, tasks, cancel);
        NodeContext {
            id,
            name: String::new(),
            backplane: Some(backplane),
            peers: Arc::default(),
            presence: Arc::new(LocalPresence::default()),
            is_joining: false,
        }
    };
    let world = World::at(place).await;
    let (tasks, cancel) = (world.tasks.clone(), world.cancel.clone());
    let other = Live::new(world.sound.clone(), place(&tasks, &cancel), tasks, cancel);
    let elsewhere = other.room(world.room.id());
    let mut reader = world.reader().await;
    // While the journal is silent, only the backplane can bring a change: when one arrives, the backplane is up.
    for number in 0.. {
        world.journal.fall_silent();
        let told = message(world.author, &format!("told {number}"));
        let seq = elsewhere.write(told).await.unwrap().entry.seq;
        let is_told = timeout(TOLD_WITHIN, async {
            while next_seq(&mut reader).await < seq {}
        });
        let is_told = is_told.await.is_ok();
        world.journal.speak();
        if is_told {
            break;
        }
        // A lost entry is read before the next try, because it would otherwise remain a gap.
        while next_seq(&mut reader).await < seq {}
    }

    world.journal.next(Fault::Hang);
    let hanging = world.room.write(message(world.author, "the hanging one"));
    world.journal.is_hanging().await;
    let seq = elsewhere
        .write(message(world.author, "from elsewhere"))
        .await
        .unwrap()
        .entry
        .seq;
    while next_seq(&mut reader).await < seq {}

    world.journal.speak();
    let written = timeout(DEADLINE, hanging).await.unwrap().unwrap();
    assert!(written.entry.seq > seq);
    assert_eq!(world.seqs_of("the hanging one").await, [written.entry.seq]);
}
