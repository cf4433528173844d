//! Random puts, edits, deletions and reads on two instances with one journal, compared with a plain map: no frame has a
//! body that was superseded before it, and applying the frames gives the room's exact state.

use crate::support::{Rooms, unconditional};
use proptest::{prelude::*, test_runner::Config};
use roost_schema::{Body, ItemId, Kind, MemberState, Op, Position, Role, RoomId, Seq, UserId};
use roost_server::{
    live::{Change, Feed, Frame, Live, LiveRoom},
    store::journal::{Journal, SqlJournal, Terms},
};
use std::{collections::HashMap, sync::Arc};

/// Bodies of a few bytes, of a part of a frame, and so large that a room's ring holds three.
const SIZES_BYTES: [usize; 3] = [0, 40 * 1_024, 170 * 1_024];
const ITEMS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Changes that are requested at once, so that one batch may have several of one item; `None` deletes.
    Write(Vec<(usize, Option<usize>)>),
    /// A reader joins one of the instances from an earlier position, part of the way to the head.
    Join { instance: usize, part: f64 },
    /// The reader from the beginning reads on.
    Look,
    /// The writing instance is replaced by one with an empty memory.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => Just(0), 2 => Just(1), 1 => Just(2)];
    let change = (0..ITEMS, prop::option::weighted(0.8, size));
    let step = prop_oneof![
        6 => prop::collection::vec(change, 1..4).prop_map(Step::Write),
        4 => (0..2_usize, 0.0..1.0).prop_map(|(instance, part)| Step::Join { instance, part }),
        2 => Just(Step::Look),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(Config { cases: 32, max_shrink_iters: 100, ..Config::default() })]

    #[test]
    fn no_frame_holds_what_was_superseded_before_it(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut world = Journaled::new().await;
            let mut model = Model::begin(&world).await;
            for step in &steps {
                model.take(&mut world, step).await;
            }
            model.take(&mut world, &Step::Look).await;
            model.take(&mut world, &Step::Join { instance: 1, part: 0.0 }).await;
        });
    }
}

/// The bodies of the living items.
type State = HashMap<ItemId, String>;

/// What was written, and the state of a reader from the beginning.
struct Model {
    items: Vec<ItemId>,
    /// The room's state after each seq; the first is from after the reader became a member.
    states: Vec<State>,
    begun: Position,
    follower: Option<Feed>,
    followed: (Position, State),
    written: usize,
}

impl Model {
    async fn begin(world: &Journaled) -> Self {
        let begun = message_room(world).position().await.unwrap();
        Self {
            items: (0..ITEMS).map(|_| ItemId::generate()).collect(),
            states: vec![State::new()],
            begun,
            follower: None,
            followed: (begun, State::new()),
            written: 0,
        }
    }

    fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    async fn take(&mut self, world: &mut Journaled, step: &Step) {
        match step {
            Step::Write(changes) => self.write(world, changes).await,
            Step::Join { instance, part } => self.join(world, *instance, *part).await,
            Step::Look => self.look(world).await,
            Step::Restart => {
                world.serve_from(world.journal.clone());
                self.follower = None;
            }
        }
    }

    async fn write(&mut self, world: &Journaled, changes: &[(usize, Option<usize>)]) {
        let mut asked = Vec::new();
        for (item, size) in changes {
            let item = self.items[*item];
            let mut state = self.now().clone();
            let text = size.map(|size| {
                self.written += 1;
                format!("<{}>{}", self.written, "x".repeat(SIZES_BYTES[size]))
            });
            match &text {
                Some(text) => state.insert(item, text.clone()),
                None => state.remove(&item),
            };
            self.states.push(state);
            asked.push(world.write(item, Kind::Message, text.as_deref()));
        }
        futures::future::join_all(asked).await;
    }

    async fn join(&mut self, world: &Journaled, instance: usize, part: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of some dozens"
        )]
        let at = (self.states.len() as f64 * part) as usize;
        let room = world.instances[instance].room(world.room);
        // The instance that did not write is refreshed, as the cluster's announcements would do.
        room.refresh().await.unwrap();
        let seq = Seq(self.begun.seq.0 + at as u64);
        let after = Position::new(self.begun.epoch, seq);
        let mut feed = room.watch(world.reader, Some(after)).await.unwrap();
        let mut known = (after, self.states[at].clone());
        self.read(&mut feed, &mut known).await;
    }

    async fn look(&mut self, world: &Journaled) {
        let mut feed = if let Some(feed) = self.follower.take() {
            feed
        } else {
            let room = message_room(world);
            let after = Some(self.followed.0);
            room.watch(world.reader, after).await.unwrap()
        };
        let mut known = self.followed.clone();
        self.read(&mut feed, &mut known).await;
        self.followed = known;
        self.follower = Some(feed);
    }

    /// Applies the feed's frames until they are live, by the rules of the protocol.
    async fn read(&self, feed: &mut Feed, known: &mut (Position, State)) {
        let (position, state) = known;
        let mut held: HashMap<ItemId, Seq> = HashMap::new();
        loop {
            let frame = feed.page().await.unwrap().expect("still a member");
            self.assert_current(&frame);
            assert!(frame.position.seq >= position.seq, "positions rise");
            for event in &frame.events {
                assert!(event.seq > position.seq && event.seq <= frame.position.seq);
                assert!(held.insert(event.item, event.seq) < Some(event.seq));
                match event.op {
                    Op::Put => state.insert(event.item, event.body.decode().unwrap()),
                    Op::Delete => state.remove(&event.item),
                    Op::Other(_) => None,
                };
            }
            *position = frame.position;
            if frame.live {
                break;
            }
        }
        assert!(
            position.seq.0 + 1 == self.begun.seq.0 + self.states.len() as u64,
            "up to date"
        );
        assert!(
            state == self.now(),
            "{:?} {:?}",
            state.keys(),
            self.now().keys()
        );
    }

    fn assert_current(&self, frame: &Frame) {
        for event in &frame.events {
            let body: Option<String> = event.body.decode().unwrap();
            let current = self.now().get(&event.item);
            assert!(body.as_ref() == current, "seq {} is superseded", event.seq);
        }
        let count = |text: &str| text.matches('<').count();
        let puts = frame.events.iter().filter(|event| event.op == Op::Put);
        assert_eq!(count(frame.to_json().get()), puts.count(), "encoded alike");
    }
}

/// A journal, two instances on it, and a room with one member.
pub(super) struct Journaled {
    pub(super) journal: Arc<SqlJournal>,
    /// The first one writes.
    pub(super) instances: [Arc<Live>; 2],
    pub(super) room: RoomId,
    pub(super) reader: UserId,
    rooms: Rooms,
}

/// The room on the writing instance.
pub(super) fn message_room(world: &Journaled) -> LiveRoom {
    world.instances[0].room(world.room)
}

impl Journaled {
    pub(super) async fn new() -> Self {
        let rooms = Rooms::new().await;
        let world = Self {
            instances: [rooms.instance(), rooms.instance()],
            journal: rooms.journal.clone(),
            room: RoomId::generate(),
            reader: UserId::generate(),
            rooms,
        };
        let state = MemberState {
            room_id: world.room,
            user_id: world.reader,
            role: Role::Viewer,
        };
        let member = ItemId::of_member(world.reader);
        let body = Body::encode(&state).unwrap();
        world.append(member, Kind::Member, Op::Put, body).await;
        world
    }

    pub(super) async fn put(&self, item: ItemId, text: &str) {
        self.write(item, Kind::Message, Some(text)).await;
    }

    /// Queues a change before it returns; without a text the item is deleted.
    fn write(
        &self,
        item: ItemId,
        kind: Kind,
        text: Option<&str>,
    ) -> impl Future<Output = ()> + use<> {
        match text {
            Some(text) => self.append(item, kind, Op::Put, Body::encode(&text).unwrap()),
            None => self.append(item, kind, Op::Delete, Body::null()),
        }
    }

    fn append(
        &self,
        item: ItemId,
        kind: Kind,
        op: Op,
        body: Body,
    ) -> impl Future<Output = ()> + use<> {
        let change = Change {
            item,
            kind,
            op,
            body,
            terms: Terms::default(),
        };
        let write = unconditional(self.reader, change);
        let written = message_room(self).write(write);
        async move { drop(written.await.unwrap()) }
    }

    /// Replaces the writing instance by one with an empty memory.
    pub(super) fn serve_from(&mut self, journal: Arc<dyn Journal>) {
        self.instances[0] = self.rooms.instance_on(journal);
    }
}
