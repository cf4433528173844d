//! The task that declares this instance's changes to Redis, renews its lease, and reads rooms again after a gap.

use super::{Declared, PersonInRoom, Resync, SharedPresence, script_answer::ScriptAnswer};
use crate::live::cluster::peers::SILENT_AFTER;
use fred::error::Error;
use roost_schema::{InstanceId, RoomId};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How often the lease is renewed, and people are removed whose time to come back is over.
const TICK: Duration = Duration::from_millis(500);
/// How often revisions are compared, to find changes whose record was lost.
const COMPARE_EVERY_TICKS: u64 = 2;
/// People that one call declares.
const DECLARE_BATCH: usize = 256;
/// Rooms that one call reads, or compares.
const READ_BATCH: usize = 64;
const COMPARE_BATCH: usize = 512;
/// How long after an outage no moving person is removed: they may be back on an instance that has yet to declare it.
const MOVING_GRACE: Duration = Duration::from_secs(5);
/// How long after an outage no instance's people are removed: it may not have renewed its lease yet.
const LEASE_GRACE: Duration = Duration::from_secs(15);
/// How long people of other instances are shown while Redis is down.
const ELSEWHERE_KEPT: Duration = Duration::from_mins(1);
/// How much longer than Redis this instance waits for a moving person.
const MOVING_SLACK: Duration = Duration::from_secs(5);
/// How long releasing the lease may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether Redis takes this instance's calls, and since when.
enum RedisState {
    Up { since: Instant },
    Down { since: Instant },
}

struct Task {
    shared: Arc<SharedPresence>,
    redis_state: RedisState,
    ticks: u64,
    is_tick_due: bool,
}

pub(super) async fn run(shared: Arc<SharedPresence>, cancel: CancellationToken) {
    let mut task = Task {
        shared,
        redis_state: RedisState::Down {
            since: Instant::now(),
        },
        ticks: 0,
        is_tick_due: false,
    };
    cancel
        .run_until_cancelled(task.work_until_cancelled())
        .await;
    let shared = &task.shared;
    if shared.script.redis.is_up() && timeout(FINISH_TIMEOUT, shared.finish()).await.is_err() {
        tracing::warn!("the presence of this instance could not be given back in time");
    }
}

impl Task {
    async fn work_until_cancelled(&mut self) {
        let mut link = self.shared.script.redis.link();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let gap = self.shared.next_gap();
            tokio::select! {
                _ = ticks.tick() => self.is_tick_due = true,
                () = self.shared.work.notified() => {}
                _ = link.changed() => {}
                () = gap_is_due(gap) => {}
            }
            if !self.shared.script.redis.is_up() {
                self.work_without_redis();
            } else if let Err(error) = self.work().await {
                if matches!(self.redis_state, RedisState::Up { .. }) {
                    tracing::warn!(%error, "redis does not take presence, trying again");
                }
                self.work_without_redis();
            }
        }
    }

    fn mark_down(&mut self) {
        if matches!(self.redis_state, RedisState::Up { .. }) {
            self.redis_state = RedisState::Down {
                since: Instant::now(),
            };
        }
    }

    fn work_without_redis(&mut self) {
        self.mark_down();
        let RedisState::Down { since } = self.redis_state else {
            return;
        };
        if std::mem::take(&mut self.is_tick_due) {
            self.shared
                .state()
                .work_without_redis(since.elapsed() > ELSEWHERE_KEPT);
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        if let RedisState::Down { .. } = self.redis_state {
            self.shared.rejoin().await?;
            self.redis_state = RedisState::Up {
                since: Instant::now(),
            };
            self.is_tick_due = true;
        }
        while self.shared.declare().await? {}
        if std::mem::take(&mut self.is_tick_due) {
            self.tick().await?;
            while self.shared.declare().await? {}
        }
        self.shared.resync_rooms().await
    }

    async fn tick(&mut self) -> Result<(), Error> {
        let RedisState::Up { since } = self.redis_state else {
            return Ok(());
        };
        let answer = self
            .shared
            .script
            .tick(since.elapsed() > MOVING_GRACE)
            .await?;
        let is_trusted = since.elapsed() > LEASE_GRACE && !self.shared.state().is_refilling();
        self.shared.state().tidy(answer.has_lapsed);
        let expired = answer.expired.clone();
        self.shared.apply_answer(answer);
        for instance in expired {
            if is_trusted && self.shared.is_silent(instance) {
                self.shared.remove_dead_instance(instance).await?;
            }
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(COMPARE_EVERY_TICKS) {
            self.shared.compare().await?;
        }
        Ok(())
    }
}

async fn gap_is_due(gap: Option<Instant>) {
    match gap {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl SharedPresence {
    /// Declares and reads everything anew. At the start and after an outage, Redis may hold wrong people of this
    /// instance.
    async fn rejoin(&self) -> Result<(), Error> {
        let answer = self.script.own().await?;
        let mut state = self.state();
        state.written.extend(answer.own.iter().copied());
        state.check_generation(&answer.generation);
        state.declare_all();
        for replica in state.rooms.values_mut() {
            replica.invalidate();
        }
        state.resync_all(&|_| true);
        Ok(())
    }

    /// Declares a part of the pending changes; `false`: there were none.
    async fn declare(&self) -> Result<bool, Error> {
        let batch = self.state().begin_declaring();
        if batch.is_empty() {
            return Ok(false);
        }
        let answer = self.script.declare(&batch).await;
        self.state().end_declaring(&batch, answer.is_ok());
        self.apply_answer(answer?);
        Ok(true)
    }

    fn apply_answer(&self, answer: ScriptAnswer) {
        self.state().check_generation(&answer.generation);
        self.publish(answer.records);
    }

    /// Whether no beacon of an instance has arrived for `SILENT_AFTER`.
    fn is_silent(&self, instance: InstanceId) -> bool {
        let last = self.peers.last_beacon(instance);
        last.is_none_or(|(age, _)| age > SILENT_AFTER)
    }

    async fn remove_dead_instance(&self, instance: InstanceId) -> Result<(), Error> {
        tracing::info!(instance.id = %instance, "an instance is dead, its people are gone");
        loop {
            let answer = self.script.remove_dead_instance(instance).await?;
            let has_more = answer.has_more;
            self.apply_answer(answer);
            if !has_more {
                return Ok(());
            }
        }
    }

    /// Finds the rooms of which a record was lost, by their revisions.
    async fn compare(&self) -> Result<(), Error> {
        let rooms: Vec<_> = self.state().rooms.keys().copied().collect();
        for rooms in rooms.chunks(COMPARE_BATCH) {
            // Read before the call: a record that arrives meanwhile is no difference.
            let known = self.state().revisions(rooms);
            let answer = self.script.revisions(rooms).await?;
            let mut state = self.state();
            for ((room, revision), known) in answer.revisions.into_iter().zip(known) {
                let is_behind = known.is_none_or(|known| known < revision)
                    && state.revisions(&[room]) != [Some(revision)];
                if is_behind && state.rooms.contains_key(&room) {
                    state.resyncs.insert(room, Resync::Now);
                }
            }
        }
        Ok(())
    }

    async fn resync_rooms(&self) -> Result<(), Error> {
        loop {
            let rooms = self.state().take_due_resyncs(READ_BATCH);
            if rooms.is_empty() {
                return Ok(());
            }
            let answer = self.script.read(&rooms).await;
            let mut state = self.state();
            match answer {
                Ok(answer) => {
                    for snapshot in answer.snapshots {
                        state.apply_snapshot(self.instance, snapshot);
                    }
                }
                Err(error) => {
                    state
                        .resyncs
                        .extend(rooms.into_iter().map(|room| (room, Resync::Now)));
                    return Err(error);
                }
            }
        }
    }

    /// Declares the pending changes and releases the lease: people who are still connected are moving then.
    async fn finish(&self) {
        let finishing = async {
            while self.declare().await? {}
            loop {
                let answer = self.script.release().await?;
                let has_more = answer.has_more;
                self.apply_answer(answer);
                if !has_more {
                    return Ok::<_, Error>(());
                }
            }
        };
        if let Err(error) = finishing.await {
            tracing::debug!(%error, "redis does not take this instance's last word");
        }
    }

    /// When the first gap is due to be read.
    fn next_gap(&self) -> Option<Instant> {
        let state = self.state();
        let due = state.resyncs.values().filter_map(|resync| match resync {
            Resync::Gap(due) => Some(*due),
            Resync::Now => None,
        });
        due.min()
    }
}

impl super::ReplicaState {
    fn begin_declaring(&mut self) -> Vec<(PersonInRoom, Declared)> {
        let next = self.to_declare.iter().take(DECLARE_BATCH);
        let batch: Vec<_> = next.map(|(key, declared)| (*key, *declared)).collect();
        for (key, declared) in &batch {
            self.to_declare.remove(key);
            self.being_declared.insert(*key);
            if *declared == Declared::Here {
                // Redis may hold the person even if no answer comes.
                self.written.insert(*key);
            }
        }
        batch
    }

    fn end_declaring(&mut self, batch: &[(PersonInRoom, Declared)], is_done: bool) {
        for (key, declared) in batch {
            self.being_declared.remove(key);
            if !is_done {
                self.to_declare.entry(*key).or_insert(*declared);
            } else if *declared != Declared::Here {
                self.written.remove(key);
            }
        }
    }

    /// While Redis is down: drops the pending changes of people whom Redis cannot hold, and removes moving people whose
    /// time is over. `clears_elsewhere`: removes the connections to other instances, too.
    fn work_without_redis(&mut self, clears_elsewhere: bool) {
        let (written, being_declared) = (&self.written, &self.being_declared);
        self.to_declare.retain(|key, declared| {
            *declared == Declared::Here || written.contains(key) || being_declared.contains(key)
        });
        let now = Instant::now();
        self.rooms.retain(|_, replica| {
            replica.people.expire(now);
            if clears_elsewhere {
                replica.people.clear_elsewhere();
            }
            !replica.people.is_idle()
        });
    }

    /// Removes unused replicas and people whose time to come back is over, and ends `REFILL_GRACE`.
    fn tidy(&mut self, has_lapsed: bool) {
        if has_lapsed {
            self.declare_all();
        }
        if self.refilling_until.is_some() && !self.is_refilling() {
            self.refilling_until = None;
            self.resync_all(&|_| true);
        }
        // Redis removes moving people itself, except those who were never declared to it.
        let long_ago = Instant::now().checked_sub(MOVING_SLACK);
        self.rooms.retain(|_, replica| {
            if let Some(long_ago) = long_ago {
                replica.people.expire(long_ago);
            }
            !replica.people.is_idle()
        });
        let rooms = &self.rooms;
        self.resyncs.retain(|room, _| rooms.contains_key(room));
    }

    fn revisions(&self, rooms: &[RoomId]) -> Vec<Option<u64>> {
        let revision = |room| {
            self.rooms
                .get(room)
                .and_then(super::PeopleReplica::revision)
        };
        rooms.iter().map(revision).collect()
    }

    /// Takes rooms that are due to be read again.
    fn take_due_resyncs(&mut self, count: usize) -> Vec<RoomId> {
        let now = Instant::now();
        let rooms = &self.rooms;
        let is_due = |(room, resync): (&RoomId, &Resync)| match resync {
            Resync::Now => Some(*room),
            Resync::Gap(due) => (*due <= now).then_some(*room),
        };
        let due: Vec<_> = self.resyncs.iter().filter_map(is_due).collect();
        let mut wanted = Vec::new();
        for room in due {
            if wanted.len() == count {
                break;
            }
            let resync = self.resyncs.remove(&room);
            let is_wanted = rooms
                .get(&room)
                .is_some_and(|replica| resync == Some(Resync::Now) || replica.has_gap());
            if is_wanted {
                wanted.push(room);
            }
        }
        wanted
    }
}
