//! The mailbox on the journal, compared with a plain list: for any requests to two instances in any order, the journal
//! has the list's entries, and every reply is the list's.

use crate::support::{Rooms, eventually, unconditional};
use proptest::{prelude::*, test_runner::Config};
use roost_schema::{
    Body, ErrorCode, ItemId, Kind, MemberState, Op, OpId, Role, RoomId, Seq, UserId,
};
use roost_server::{
    live::{Change, Live, LiveError, Refusal, Write},
    store::journal::{Entry, Journal, RequestHash, Terms},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::sleep;

const INSTANCES: usize = 2;
const ALL_BYTES: usize = usize::MAX / 2;

/// One request: a person puts or deletes an item under an operation id, on an instance.
#[derive(Clone, Debug)]
struct Step {
    instance: usize,
    /// The third person is no member.
    person: usize,
    item: usize,
    operation: u8,
    text: Option<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..INSTANCES,
        0..3_usize,
        0..4_usize,
        0..40_u8,
        prop::option::weighted(0.7, 0..3_u8),
    )
        .prop_map(|(instance, person, item, operation, text)| Step {
            instance,
            person,
            item,
            operation,
            text,
        });
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(Config { cases: 24, max_shrink_iters: 200, ..Config::default() })]

    #[test]
    fn two_instances_keep_one_list(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut list = List::default();
            for step in &steps {
                let answer = world.ask(step).await;
                list.check(step, &world, answer);
            }
            world.compare(&list).await;
        });
    }
}

/// A room without entries is dropped a second after its last holder has released it, and not before.
#[tokio::test]
async fn a_room_stays_while_it_has_a_holder() {
    let rooms = Rooms::new().await;
    let live = rooms.instance();
    let count = || live.stats().rooms;
    let room = live.room(RoomId::generate());
    room.position().await.unwrap();
    let another = room.clone();
    drop(room);
    let feed = another.watch(UserId::generate(), None).await.unwrap();
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(count(), 1);
    drop(feed);
    eventually(async || count() == 0).await;
}

struct World {
    rooms: Rooms,
    instances: Vec<Arc<Live>>,
    room: RoomId,
    people: [UserId; 3],
    items: [ItemId; 4],
}

impl World {
    async fn new() -> Self {
        let rooms = Rooms::new().await;
        let world = Self {
            instances: (0..INSTANCES).map(|_| rooms.instance()).collect(),
            rooms,
            room: RoomId::generate(),
            people: std::array::from_fn(|_| UserId::generate()),
            items: std::array::from_fn(|_| ItemId::generate()),
        };
        for person in &world.people[..2] {
            world.admit(*person).await;
        }
        world
    }

    async fn admit(&self, user_id: UserId) {
        let state = MemberState {
            room_id: self.room,
            user_id,
            role: Role::Editor,
        };
        let change = Change {
            item: ItemId::of_member(user_id),
            kind: Kind::Member,
            op: Op::Put,
            body: Body::encode(&state).unwrap(),
            terms: Terms::default(),
        };
        let write = unconditional(user_id, change);
        let room = self.instances[0].room(self.room);
        room.write(write).await.unwrap();
    }

    async fn ask(&self, step: &Step) -> Result<Entry, LiveError> {
        let (actor, item, text) = (self.people[step.person], self.items[step.item], step.text);
        let write = Write {
            actor,
            op_id: Some(operation(step)),
            request_hash: request_hash(step),
            asked_hash: request_hash(step),
            event: None,
            item,
            is_new: false,
            bytes: 1,
            judge: Box::new(move |room| {
                let is_living = room.item(item).is_some_and(|entry| entry.op == Op::Put);
                match text {
                    _ if room.role_of(actor).is_none() => Err(refusal(ErrorCode::Forbidden)),
                    None if !is_living => Err(refusal(ErrorCode::NotFound)),
                    None => Ok((Op::Delete, Body::null())),
                    Some(text) => Ok((Op::Put, Body::encode(&text).unwrap())),
                }
                .map(|(op, body)| Change {
                    item,
                    kind: Kind::Message,
                    op,
                    body,
                    terms: Terms::default(),
                })
            }),
        };
        let room = self.instances[step.instance].room(self.room);
        room.write(write).await.map(|written| written.entry)
    }

    async fn compare(&self, list: &List) {
        let members = Seq(2);
        let log = self
            .rooms
            .journal
            .log(self.room, members, ALL_BYTES)
            .await
            .unwrap();
        let kept: Vec<_> = log.entries.iter().map(Row::from).collect();
        assert_eq!(kept, list.rows);
        let changes = self
            .rooms
            .journal
            .changes(self.room, members, ALL_BYTES)
            .await
            .unwrap();
        let current: Vec<_> = changes.entries.iter().map(Row::from).collect();
        assert_eq!(current, list.newest());
    }
}

/// The fields of an entry that the journal must have.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    seq: Seq,
    item: ItemId,
    op: Op,
    body: String,
    actor: UserId,
    operation: OpId,
    born: Seq,
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            item: entry.item,
            op: entry.op.clone(),
            body: entry.body.as_str().to_owned(),
            actor: entry.actor,
            operation: entry.op_id.clone().unwrap(),
            born: entry.born,
        }
    }
}

/// The model: a list, and its reply to each request.
#[derive(Default)]
struct List {
    rows: Vec<Row>,
    asked: HashMap<(UserId, OpId), (RequestHash, usize)>,
}

impl List {
    fn check(&mut self, step: &Step, world: &World, answer: Result<Entry, LiveError>) {
        let (actor, item) = (world.people[step.person], world.items[step.item]);
        let key = (actor, operation(step));
        let newest = self.rows.iter().rev().find(|row| row.item == item);
        if let Some((hash, row)) = self.asked.get(&key) {
            if *hash == request_hash(step) {
                assert_eq!(Row::from(&answer.unwrap()), self.rows[*row], "{step:?}");
            } else {
                assert_refused(answer, ErrorCode::OpIdReused, step);
            }
        } else if step.person == 2 {
            assert_refused(answer, ErrorCode::Forbidden, step);
        } else if step.text.is_none() && newest.is_none_or(|row| row.op == Op::Delete) {
            assert_refused(answer, ErrorCode::NotFound, step);
        } else {
            let seq = Seq(self.rows.len() as u64 + 3);
            let row = Row {
                seq,
                item,
                op: step.text.map_or(Op::Delete, |_| Op::Put),
                body: step.text.map_or("null".to_owned(), |text| text.to_string()),
                actor,
                operation: key.1.clone(),
                born: newest.map_or(seq, |row| row.born),
            };
            assert_eq!(Row::from(&answer.unwrap()), row, "{step:?}");
            self.asked
                .insert(key, (request_hash(step), self.rows.len()));
            self.rows.push(row);
        }
    }

    fn newest(&self) -> Vec<Row> {
        let is_newest = |row: &&Row| {
            let mut later = self.rows.iter().filter(|other| other.item == row.item);
            later.all(|other| other.seq <= row.seq)
        };
        self.rows.iter().filter(is_newest).cloned().collect()
    }
}

fn assert_refused(answer: Result<Entry, LiveError>, code: ErrorCode, step: &Step) {
    match answer {
        Err(LiveError::Refused(refusal)) => assert_eq!(refusal.code, code, "{step:?}"),
        other => panic!("{step:?} was not refused with {code:?}: {other:?}"),
    }
}

fn refusal(code: ErrorCode) -> Refusal {
    Refusal {
        code,
        sentence: "the model says so",
    }
}

fn operation(step: &Step) -> OpId {
    format!("op-{}", step.operation).parse().unwrap()
}

/// The request hash of the step; the same operation id with another hash is a reused one.
fn request_hash(step: &Step) -> RequestHash {
    let mut hash = [0; 32];
    hash[0] = u8::try_from(step.item).unwrap();
    hash[1] = step.text.map_or(0, |text| text + 1);
    RequestHash(hash)
}
