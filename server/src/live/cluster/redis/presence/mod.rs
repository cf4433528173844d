//! Presence on Redis: all instances share one record of each room, and each keeps a replica of the
//! rooms it has people in.
//!
//! * A change on this instance is announced to its own listeners at once. One task declares it to Redis, only the
//!   newest change of each person: many changes of one person cost one call.
//! * Redis decides each change atomically and gives it the room's next revision (`presence.lua`). The instance that
//!   declared it announces the record on the backplane. After a gap in the revisions the room is read again.
//! * An instance's people are kept under its lease. An instance is dead only when its lease has ended and no beacon of
//!   it arrives; then any other instance removes its people.
//! * Redis keeps how long a moving person may take to come back. Any instance removes them after that.
//! * Another generation means that Redis was emptied. Then each instance declares its own people again, and for 15 s a
//!   person or connection that is missing in Redis is not taken for gone.
//! * While Redis is down: this instance's own people are exact; those of other instances stay as they were for a
//!   minute, and are gone then. When it is up again, all rooms are read again.

mod replica;
mod script;
mod script_answer;
mod task;

pub use script::LEASE;

use super::Redis;
use crate::live::{
    cluster::{
        backplane::{Backplane, Bucket, Channel},
        message::Message,
        peers::Peers,
    },
    presence::{Departure, Presence, PresenceChanges, Record},
};
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use replica::{Merge, PeopleReplica};
use roost_schema::{InstanceId, RoomId, UserId};
use script::{Declared, PresenceScript};
use script_answer::Snapshot;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the instances may take to declare their people again after Redis was emptied.
const REFILL_GRACE: Duration = Duration::from_secs(15);
/// How long a record that came too early may wait for those before it, before the room is read again.
const GAP_WAIT: Duration = Duration::from_millis(100);

/// The head of this file describes it.
pub struct RedisPresence(Arc<SharedPresence>);

/// The state that the port's methods share with the task.
struct SharedPresence {
    instance: InstanceId,
    script: PresenceScript,
    backplane: Arc<dyn Backplane>,
    peers: Arc<Peers>,
    state: Mutex<ReplicaState>,
    /// Wakes the task.
    work: Notify,
}

/// A person in a room.
type PersonInRoom = (RoomId, UserId);

#[derive(Default)]
struct ReplicaState {
    rooms: HashMap<RoomId, PeopleReplica>,
    /// Changes that are to be declared to Redis, and those of the call that is under way.
    to_declare: HashMap<PersonInRoom, Declared>,
    being_declared: HashSet<PersonInRoom>,
    /// People whom Redis may hold as connected to this instance.
    written: HashSet<PersonInRoom>,
    /// Rooms that are to be read again, and when.
    resyncs: HashMap<RoomId, Resync>,
    generation: Option<String>,
    refilling_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Resync {
    /// At once.
    Now,
    /// At this time, if records are still missing then.
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
        let shared = Arc::new(SharedPresence {
            instance,
            script: PresenceScript::new(redis, instance),
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
        let replica = PeopleReplica::new(room);
        let changes = replica.people.listen();
        state.rooms.insert(room, replica);
        changes
    }

    async fn read(&self, room: RoomId) -> Vec<roost_schema::Presence> {
        if let Some(replica) = self.0.state().rooms.get(&room)
            && replica.is_synced()
        {
            return replica.people.present();
        }
        let snapshot = self.0.script.ask(room).await;
        let mut state = self.0.state();
        // The next tick removes the replica if the room has no connection and no listener.
        let replica = state.rooms.entry(room);
        replica.or_insert_with(|| PeopleReplica::new(room));
        match snapshot {
            Ok(found) => state.apply_snapshot(self.0.instance, found),
            Err(_) => {
                state.resyncs.insert(room, Resync::Now);
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
        let replica = replica.or_insert_with(|| PeopleReplica::new(room));
        if !replica.people.arrive(user) {
            return;
        }
        if !replica.is_synced() {
            state.resyncs.insert(room, Resync::Now);
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

    fn apply_remote(&self, record: Record) {
        let mut state = self.0.state();
        state.apply_change(self.0.instance, record);
        if !state.resyncs.is_empty() || !state.to_declare.is_empty() {
            self.0.work.notify_one();
        }
    }

    fn invalidate(&self, is_affected: &dyn Fn(RoomId) -> bool) {
        let mut state = self.0.state();
        state.resync_all(is_affected);
        self.0.work.notify_one();
    }
}

impl SharedPresence {
    fn state(&self) -> MutexGuard<'_, ReplicaState> {
        self.state.lock()
    }

    /// Applies records of changes that this instance declared, and announces them to the other instances.
    fn publish(&self, records: Vec<Record>) {
        let mut state = self.state();
        for record in records {
            state.apply_change(self.instance, record.clone());
            let channel = Channel::Bucket(Bucket::of(record.room));
            Message::Presence(record).send(self.backplane.as_ref(), channel);
        }
    }
}

impl ReplicaState {
    fn resync_all(&mut self, is_affected: &dyn Fn(RoomId) -> bool) {
        let affected = self.rooms.keys().copied().filter(|room| is_affected(*room));
        self.resyncs
            .extend(affected.map(|room| (room, Resync::Now)));
    }

    /// Declares anew all people who are connected to this instance, and as gone those whom Redis holds beyond them.
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

    /// Compares the generation of an answer. Another one means that Redis was emptied since.
    fn check_generation(&mut self, generation: &str) {
        if self.generation.as_deref() == Some(generation) {
            return;
        }
        let before = self.generation.replace(generation.to_owned());
        if before.is_some() {
            tracing::warn!("redis was emptied: presence is written again");
            self.refilling_until = Some(Instant::now() + REFILL_GRACE);
            self.written.clear();
            self.declare_all();
        }
        for replica in self.rooms.values_mut() {
            replica.clear_ahead();
        }
        self.resync_all(&|_| true);
    }

    fn is_refilling(&self) -> bool {
        self.refilling_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// Applies the record of a change, of this or another instance.
    fn apply_change(&mut self, me: InstanceId, record: Record) {
        let room = record.room;
        let Some(replica) = self.rooms.get_mut(&room) else {
            return;
        };
        if self.generation.as_ref() != Some(&record.generation) {
            self.resyncs.insert(room, Resync::Now);
            return;
        }
        let is_newest = replica.track(&record);
        if replica.has_gap() {
            let gap = Resync::Gap(Instant::now() + GAP_WAIT);
            self.resyncs.entry(room).or_insert(gap);
        }
        if is_newest {
            self.apply_record(me, record, false);
        }
    }

    /// Applies a snapshot of a room, unless the replica is newer.
    fn apply_snapshot(&mut self, me: InstanceId, found: Snapshot) {
        self.check_generation(&found.generation);
        let Some(replica) = self.rooms.get_mut(&found.room) else {
            return;
        };
        let is_first = !replica.is_synced();
        let Some(newer) = replica.reset(&found.generation, found.revision) else {
            return;
        };
        // The people of a room that was never shown are not announced: its first reader gets them as they are.
        let is_silent = is_first && !replica.is_shown;
        let missing = replica.people.known().into_iter();
        let held: HashSet<_> = found.people.iter().map(|record| record.user).collect();
        let missing = missing.filter(|user| !held.contains(user));
        let nowhere: Vec<_> = missing.map(|user| found.nowhere(user)).collect();
        let mut records = found.people;
        records.extend(nowhere);
        records.retain(|record| !newer.contains(&record.user));
        if replica.has_gap() {
            let gap = Resync::Gap(Instant::now() + GAP_WAIT);
            self.resyncs.entry(found.room).or_insert(gap);
        }
        for record in records {
            self.apply_record(me, record, is_silent);
        }
    }

    fn apply_record(&mut self, me: InstanceId, record: Record, is_silent: bool) {
        let (is_refilling, key) = (self.is_refilling(), (record.room, record.user));
        let is_pending = self.to_declare.contains_key(&key) || self.being_declared.contains(&key);
        let Some(replica) = self.rooms.get_mut(&record.room) else {
            return;
        };
        let is_named = record.instances.contains(&me);
        let is_here = replica.people.is_here(record.user);
        let user = record.user;
        let merge = Merge::of(is_pending, is_refilling);
        let (elsewhere, is_moving) = replica.merged(me, record, merge);
        if is_silent {
            replica
                .people
                .silently(|people| people.apply(user, elsewhere, is_moving));
        } else {
            replica.people.apply(user, elsewhere, is_moving);
        }
        // A pending change is newer than the record. Without one, Redis and this instance have to agree.
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
mod tests;
