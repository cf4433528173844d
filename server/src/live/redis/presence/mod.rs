//! Presence on Redis: all instances share one record of each room, and each keeps a replica of the
//! rooms it has people in.
//!
//! * What happens on this instance is told here at once, and to Redis by one task, which sends only the
//!   newest of each person: a storm costs no more than its last word.
//! * Redis decides each change atomically and counts it (`presence.lua`); whoever made it tells the
//!   others on the backplane. A gap in the count means: read the room again.
//! * An instance's people are kept under its lease. An instance is dead only when its lease has ended
//!   and nothing is heard of it; then any other takes its people away.
//! * Who is moving is in Redis with the time they have: any instance gives them up when it has passed.
//! * Redis was emptied when its generation is another one. Then each instance writes its own people
//!   again, and for 15 s nobody is believed gone on the word of Redis.
//! * While Redis is down: this instance's own people are exact; those elsewhere stay as they were last
//!   known, for a minute, and are gone then. When it is back, everything is compared again.

mod answers;
mod ledger;
mod replica;
mod task;

pub use ledger::LEASE;

use super::Redis;
use crate::live::{
    backplane::{Backplane, Bucket, Channel},
    message::Message,
    peers::Peers,
    presence::{Departure, Presence, PresenceChanges, Record},
};
use answers::Snapshot;
use async_trait::async_trait;
use ledger::{Declared, Ledger};
use parking_lot::{Mutex, MutexGuard};
use replica::Replica;
use roost_schema::{InstanceId, RoomId, UserId};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long nobody is believed gone after Redis was emptied.
const QUIET: Duration = Duration::from_secs(15);
/// How long a change that came too early may wait for those before it.
const GAP_WAIT: Duration = Duration::from_millis(100);

/// See the file's head.
pub struct RedisPresence(Arc<Shared>);

/// What the task and those who ask share.
struct Shared {
    instance: InstanceId,
    ledger: Ledger,
    backplane: Arc<dyn Backplane>,
    peers: Arc<Peers>,
    state: Mutex<State>,
    /// There is something to do for the task.
    work: Notify,
}

/// A person in a room.
type Key = (RoomId, UserId);

#[derive(Default)]
struct State {
    rooms: HashMap<RoomId, Replica>,
    /// What Redis is still to be told, and what it is being told.
    to_declare: HashMap<Key, Declared>,
    in_flight: HashSet<Key>,
    /// Whom Redis may hold as connected to this instance.
    written: HashSet<Key>,
    /// Rooms to be read again, and when.
    doubts: HashMap<RoomId, Doubt>,
    generation: Option<String>,
    quiet_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Whatever is known.
    Now,
    /// If changes are still missing then.
    Gap(Instant),
}

impl RedisPresence {
    /// Starts its task on `tasks`; it ends when `cancel` fires, after it has given the lease back.
    pub fn start(
        redis: Redis,
        instance: InstanceId,
        backplane: Arc<dyn Backplane>,
        peers: Arc<Peers>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<dyn Presence> {
        let shared = Arc::new(Shared {
            instance,
            ledger: Ledger::new(redis, instance),
            backplane,
            peers,
            state: Mutex::default(),
            work: Notify::new(),
        });
        tasks.spawn(task::run(Arc::clone(&shared), cancel));
        Arc::new(Self(shared))
    }
}

#[async_trait]
impl Presence for RedisPresence {
    fn listen(&self, room: RoomId) -> PresenceChanges {
        let mut state = self.0.state();
        if let Some(replica) = state.rooms.get(&room) {
            return replica.people.listen();
        }
        let replica = Replica::new(room);
        let changes = replica.people.listen();
        state.rooms.insert(room, replica);
        changes
    }

    async fn read(&self, room: RoomId) -> Vec<roost_schema::Presence> {
        if let Some(replica) = self.0.state().rooms.get(&room)
            && replica.is_known()
        {
            return replica.people.present();
        }
        let snapshot = self.0.ledger.ask(room).await;
        let mut state = self.0.state();
        // One that nobody needs is forgotten with the next tick.
        let replica = state.rooms.entry(room);
        replica.or_insert_with(|| Replica::new(room));
        match snapshot {
            Ok(found) => state.adopt(self.0.instance, found),
            Err(_) => {
                state.doubts.insert(room, Doubt::Now);
            }
        }
        self.0.work.notify_one();
        let Some(replica) = state.rooms.get_mut(&room) else {
            return Vec::new();
        };
        replica.is_shown = true;
        replica.people.present()
    }

    fn arrive(&self, room: RoomId, user: UserId) {
        let mut state = self.0.state();
        let replica = state.rooms.entry(room);
        let replica = replica.or_insert_with(|| Replica::new(room));
        if !replica.people.arrive(user) {
            return;
        }
        if !replica.is_known() {
            state.doubts.insert(room, Doubt::Now);
        }
        state.to_declare.insert((room, user), Declared::Here);
        self.0.work.notify_one();
    }

    fn depart(&self, room: RoomId, user: UserId, departure: Departure) {
        let mut state = self.0.state();
        let Some(replica) = state.rooms.get_mut(&room) else {
            return;
        };
        if replica.people.depart(user, departure) {
            let declared = match departure {
                Departure::Lost => Declared::Lost,
                Departure::OnPurpose => Declared::Left,
            };
            state.to_declare.insert((room, user), declared);
            self.0.work.notify_one();
        }
    }

    fn is_here(&self, room: RoomId, user: UserId) -> bool {
        let state = self.0.state();
        let replica = state.rooms.get(&room);
        replica.is_some_and(|replica| replica.people.is_here(user))
    }

    fn hear(&self, record: Record) {
        let mut state = self.0.state();
        state.take(self.0.instance, record);
        if !state.doubts.is_empty() || !state.to_declare.is_empty() {
            self.0.work.notify_one();
        }
    }

    fn doubt(&self, is_meant: &dyn Fn(RoomId) -> bool) {
        let mut state = self.0.state();
        state.doubt_all(is_meant);
        self.0.work.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Takes changes that this instance made, and tells the others.
    fn tell(&self, records: Vec<Record>) {
        let mut state = self.state();
        for record in records {
            state.take(self.instance, record.clone());
            let channel = Channel::Bucket(Bucket::of(record.room));
            Message::Presence(record).send(self.backplane.as_ref(), channel);
        }
    }
}

impl State {
    fn doubt_all(&mut self, is_meant: &dyn Fn(RoomId) -> bool) {
        let meant = self.rooms.keys().copied().filter(|room| is_meant(*room));
        self.doubts.extend(meant.map(|room| (room, Doubt::Now)));
    }

    /// Everybody who is connected here is declared anew, and whoever Redis holds beyond them as gone.
    fn declare_all(&mut self) {
        for key in self.written.drain() {
            self.to_declare.entry(key).or_insert(Declared::Left);
        }
        for (room, replica) in &self.rooms {
            for user in replica.people.connected() {
                self.to_declare.insert((*room, user), Declared::Here);
            }
        }
    }

    /// Notes which life of Redis an answer came from.
    fn note_generation(&mut self, generation: &str) {
        if self.generation.as_deref() == Some(generation) {
            return;
        }
        let before = self.generation.replace(generation.to_owned());
        if before.is_some() {
            tracing::warn!("redis was emptied: presence is written again");
            self.quiet_until = Some(Instant::now() + QUIET);
            self.written.clear();
            self.declare_all();
        }
        for replica in self.rooms.values_mut() {
            replica.forget_ahead();
        }
        self.doubt_all(&|_| true);
    }

    fn is_quiet(&self) -> bool {
        self.quiet_until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes a change, whoever made it.
    fn take(&mut self, me: InstanceId, record: Record) {
        let room = record.room;
        let Some(replica) = self.rooms.get_mut(&room) else {
            return;
        };
        if self.generation.as_ref() != Some(&record.generation) {
            self.doubts.insert(room, Doubt::Now);
            return;
        }
        let is_news = replica.note(&record);
        if replica.has_hole() {
            let gap = Doubt::Gap(Instant::now() + GAP_WAIT);
            self.doubts.entry(room).or_insert(gap);
        }
        if is_news {
            self.apply(me, record, false);
        }
    }

    /// Takes the whole of a room, unless more is known already.
    fn adopt(&mut self, me: InstanceId, found: Snapshot) {
        self.note_generation(&found.generation);
        let Some(replica) = self.rooms.get_mut(&found.room) else {
            return;
        };
        let is_first = !replica.is_known();
        let Some(newer) = replica.reset(&found.generation, found.revision) else {
            return;
        };
        // Nobody was shown this room before: it is no news.
        let is_silent = is_first && !replica.is_shown;
        let missing = replica.people.known().into_iter();
        let held: HashSet<_> = found.people.iter().map(|record| record.user).collect();
        let missing = missing.filter(|user| !held.contains(user));
        let nowhere: Vec<_> = missing.map(|user| found.nowhere(user)).collect();
        let mut records = found.people;
        records.extend(nowhere);
        records.retain(|record| !newer.contains(&record.user));
        if replica.has_hole() {
            let gap = Doubt::Gap(Instant::now() + GAP_WAIT);
            self.doubts.entry(found.room).or_insert(gap);
        }
        for record in records {
            self.apply(me, record, is_silent);
        }
    }

    fn apply(&mut self, me: InstanceId, record: Record, is_silent: bool) {
        let (is_quiet, key) = (self.is_quiet(), (record.room, record.user));
        let is_pending = self.to_declare.contains_key(&key) || self.in_flight.contains(&key);
        let Some(replica) = self.rooms.get_mut(&record.room) else {
            return;
        };
        let is_named = record.instances.contains(&me);
        let is_here = replica.people.is_here(record.user);
        replica.learn(me, record, is_pending, is_quiet, is_silent);
        // What is pending is newer than what Redis says; else one of the two has forgotten.
        if is_pending || is_here == is_named {
            return;
        }
        let declared = if is_here {
            Declared::Here
        } else {
            Declared::Left
        };
        self.to_declare.insert(key, declared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(room: RoomId, user: UserId, revision: u64) -> Record {
        Record {
            room,
            generation: "one".to_owned(),
            revision,
            user,
            instances: vec![InstanceId::generate()],
            is_moving: false,
        }
    }

    /// The answer of Redis is on its way when the next change is heard.
    #[test]
    fn a_snapshot_takes_nothing_back_of_what_was_heard_since() {
        let (me, room) = (InstanceId::generate(), RoomId::generate());
        let (long_here, arrived, gone) =
            (UserId::generate(), UserId::generate(), UserId::generate());
        let mut state = State::default();
        state.rooms.insert(room, Replica::new(room));
        state.generation = Some("one".to_owned());
        state.take(me, here(room, arrived, 14));
        let left = Record {
            instances: Vec::new(),
            ..here(room, gone, 15)
        };
        state.take(me, left);
        state.adopt(
            me,
            Snapshot {
                room,
                generation: "one".to_owned(),
                revision: 13,
                people: vec![here(room, long_here, 12), here(room, gone, 13)],
            },
        );
        let replica = &state.rooms[&room];
        let present = replica.people.present();
        let mut present: Vec<_> = present.iter().map(|person| person.user_id).collect();
        let mut expected = vec![long_here, arrived];
        present.sort();
        expected.sort();
        assert_eq!(present, expected);
        assert_eq!((replica.revision(), replica.has_hole()), (Some(15), false));
    }
}
