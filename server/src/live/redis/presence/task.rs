//! The one task that tells Redis what is so on this instance, renews its lease, and repairs.

use super::{Declared, Doubt, Key, Shared, answers::Answer};
use crate::live::peers::SILENT_AFTER;
use fred::error::Error;
use roost_schema::{InstanceId, RoomId};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How often the lease is renewed and those who have been moving for too long are given up.
const TICK: Duration = Duration::from_millis(500);
/// How often it is asked whether changes were made and never heard of.
const COMPARE_EVERY_TICKS: u64 = 2;
/// People that one call declares.
const DECLARE_BATCH: usize = 256;
/// Rooms that one call reads, or compares.
const READ_BATCH: usize = 64;
const COMPARE_BATCH: usize = 512;
/// After an outage: before that long nobody who was moving is given up, for they may be back on an
/// instance that has not said so yet.
const SETTLE: Duration = Duration::from_secs(5);
/// And no instance's people are taken away before that long, for it may not have renewed its lease.
const TRUST: Duration = Duration::from_secs(15);
/// How long those elsewhere are shown while Redis is down.
const ELSEWHERE_KEPT: Duration = Duration::from_mins(1);
/// How much longer than Redis this instance waits for somebody who is moving.
const MOVING_SLACK: Duration = Duration::from_secs(5);
/// How long giving the lease back may take.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// How this instance stands with Redis.
enum Terms {
    Up { since: Instant },
    Down { since: Instant },
}

struct Task {
    shared: Arc<Shared>,
    terms: Terms,
    ticks: u64,
    is_tick_due: bool,
}

pub(super) async fn run(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut task = Task {
        shared,
        terms: Terms::Down {
            since: Instant::now(),
        },
        ticks: 0,
        is_tick_due: false,
    };
    cancel.run_until_cancelled(task.keep_up()).await;
    let shared = &task.shared;
    if shared.ledger.redis.is_up() && timeout(FINISH_TIMEOUT, shared.finish()).await.is_err() {
        tracing::warn!("the presence of this instance could not be given back in time");
    }
}

impl Task {
    async fn keep_up(&mut self) {
        let mut link = self.shared.ledger.redis.link();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let gap = self.shared.next_hole();
            tokio::select! {
                _ = ticks.tick() => self.is_tick_due = true,
                () = self.shared.work.notified() => {}
                _ = link.changed() => {}
                () = gap_is_due(gap) => {}
            }
            if !self.shared.ledger.redis.is_up() {
                self.go_on_alone();
            } else if let Err(error) = self.work().await {
                if matches!(self.terms, Terms::Up { .. }) {
                    tracing::warn!(%error, "redis does not take presence, trying again");
                }
                self.go_on_alone();
            }
        }
    }

    fn went_down(&mut self) {
        if matches!(self.terms, Terms::Up { .. }) {
            self.terms = Terms::Down {
                since: Instant::now(),
            };
        }
    }

    fn go_on_alone(&mut self) {
        self.went_down();
        let Terms::Down { since } = self.terms else {
            return;
        };
        if std::mem::take(&mut self.is_tick_due) {
            self.shared
                .state()
                .go_on_alone(since.elapsed() > ELSEWHERE_KEPT);
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        if let Terms::Down { .. } = self.terms {
            self.shared.rejoin().await?;
            self.terms = Terms::Up {
                since: Instant::now(),
            };
            self.is_tick_due = true;
        }
        while self.shared.declare().await? {}
        if std::mem::take(&mut self.is_tick_due) {
            self.tick().await?;
            while self.shared.declare().await? {}
        }
        self.shared.read_doubted().await
    }

    async fn tick(&mut self) -> Result<(), Error> {
        let Terms::Up { since } = self.terms else {
            return Ok(());
        };
        let answer = self.shared.ledger.tick(since.elapsed() > SETTLE).await?;
        let is_trusted = since.elapsed() > TRUST && !self.shared.state().is_quiet();
        self.shared.state().tidy(answer.has_lapsed);
        let expired = answer.expired.clone();
        self.shared.digest(answer);
        for instance in expired {
            if is_trusted && self.shared.is_silent(instance) {
                self.shared.bury(instance).await?;
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

impl Shared {
    /// After an outage, and at the start: whatever Redis holds of this instance may be wrong.
    async fn rejoin(&self) -> Result<(), Error> {
        let answer = self.ledger.own().await?;
        let mut state = self.state();
        state.written.extend(answer.own.iter().copied());
        state.note_generation(&answer.generation);
        state.declare_all();
        for replica in state.rooms.values_mut() {
            replica.distrust();
        }
        state.doubt_all(&|_| true);
        Ok(())
    }

    /// Says a part of what is to be said; whether there was any.
    async fn declare(&self) -> Result<bool, Error> {
        let batch = self.state().begin_declaring();
        if batch.is_empty() {
            return Ok(false);
        }
        let answer = self.ledger.declare(&batch).await;
        self.state().end_declaring(&batch, answer.is_ok());
        self.digest(answer?);
        Ok(true)
    }

    fn digest(&self, answer: Answer) {
        self.state().note_generation(&answer.generation);
        self.tell(answer.records);
    }

    /// Whether nothing is heard of an instance any more.
    fn is_silent(&self, instance: InstanceId) -> bool {
        let heard = self.peers.last_heard(instance);
        heard.is_none_or(|(age, _)| age > SILENT_AFTER)
    }

    async fn bury(&self, instance: InstanceId) -> Result<(), Error> {
        tracing::info!(instance.id = %instance, "an instance is dead, its people are gone");
        loop {
            let answer = self.ledger.bury(instance).await?;
            let has_more = answer.has_more;
            self.digest(answer);
            if !has_more {
                return Ok(());
            }
        }
    }

    /// Finds the rooms of which changes were lost on the way.
    async fn compare(&self) -> Result<(), Error> {
        let rooms: Vec<_> = self.state().rooms.keys().copied().collect();
        for rooms in rooms.chunks(COMPARE_BATCH) {
            // Noted before: what is heard meanwhile is no difference.
            let known = self.state().revisions(rooms);
            let answer = self.ledger.revisions(rooms).await?;
            let mut state = self.state();
            for ((room, revision), known) in answer.revisions.into_iter().zip(known) {
                let is_behind = known.is_none_or(|known| known < revision)
                    && state.revisions(&[room]) != [Some(revision)];
                if is_behind && state.rooms.contains_key(&room) {
                    state.doubts.insert(room, Doubt::Now);
                }
            }
        }
        Ok(())
    }

    async fn read_doubted(&self) -> Result<(), Error> {
        loop {
            let rooms = self.state().doubted(READ_BATCH);
            if rooms.is_empty() {
                return Ok(());
            }
            let answer = self.ledger.read(&rooms).await;
            let mut state = self.state();
            match answer {
                Ok(answer) => {
                    for snapshot in answer.snapshots {
                        state.adopt(self.instance, snapshot);
                    }
                }
                Err(error) => {
                    state
                        .doubts
                        .extend(rooms.into_iter().map(|room| (room, Doubt::Now)));
                    return Err(error);
                }
            }
        }
    }

    /// The last word of this instance: whoever is still connected is moving.
    async fn finish(&self) {
        let finishing = async {
            while self.declare().await? {}
            loop {
                let answer = self.ledger.release().await?;
                let has_more = answer.has_more;
                self.digest(answer);
                if !has_more {
                    return Ok::<_, Error>(());
                }
            }
        };
        if let Err(error) = finishing.await {
            tracing::debug!(%error, "redis does not take this instance's last word");
        }
    }

    /// When the first gap has waited for long enough.
    fn next_hole(&self) -> Option<Instant> {
        let state = self.state();
        let due = state.doubts.values().filter_map(|doubt| match doubt {
            Doubt::Gap(due) => Some(*due),
            Doubt::Now => None,
        });
        due.min()
    }
}

impl super::State {
    fn begin_declaring(&mut self) -> Vec<(Key, Declared)> {
        let next = self.to_declare.iter().take(DECLARE_BATCH);
        let batch: Vec<_> = next.map(|(key, declared)| (*key, *declared)).collect();
        for (key, declared) in &batch {
            self.to_declare.remove(key);
            self.in_flight.insert(*key);
            if *declared == Declared::Here {
                // Even if no answer comes, Redis may have it.
                self.written.insert(*key);
            }
        }
        batch
    }

    fn end_declaring(&mut self, batch: &[(Key, Declared)], is_done: bool) {
        for (key, declared) in batch {
            self.in_flight.remove(key);
            if !is_done {
                self.to_declare.entry(*key).or_insert(*declared);
            } else if *declared != Declared::Here {
                self.written.remove(key);
            }
        }
    }

    /// Without Redis: keeps to say only what Redis can have wrong, and gives up whom this instance
    /// can give up itself. `forgets`: those elsewhere too.
    fn go_on_alone(&mut self, forgets: bool) {
        let (written, in_flight) = (&self.written, &self.in_flight);
        self.to_declare.retain(|key, declared| {
            *declared == Declared::Here || written.contains(key) || in_flight.contains(key)
        });
        let now = Instant::now();
        self.rooms.retain(|_, replica| {
            replica.people.expire(now);
            if forgets {
                replica.people.forget_elsewhere();
            }
            !replica.people.is_idle()
        });
    }

    /// Forgets what nobody needs, and ends what has lasted long enough.
    fn tidy(&mut self, has_lapsed: bool) {
        if has_lapsed {
            self.declare_all();
        }
        if self.quiet_until.is_some() && !self.is_quiet() {
            self.quiet_until = None;
            self.doubt_all(&|_| true);
        }
        // Redis gives them up; this is for those it never heard of.
        let long_ago = Instant::now().checked_sub(MOVING_SLACK);
        self.rooms.retain(|_, replica| {
            if let Some(long_ago) = long_ago {
                replica.people.expire(long_ago);
            }
            !replica.people.is_idle()
        });
        let rooms = &self.rooms;
        self.doubts.retain(|room, _| rooms.contains_key(room));
    }

    fn revisions(&self, rooms: &[RoomId]) -> Vec<Option<u64>> {
        let revision = |room| self.rooms.get(room).and_then(super::Replica::revision);
        rooms.iter().map(revision).collect()
    }

    /// Takes rooms that are to be read now.
    fn doubted(&mut self, count: usize) -> Vec<RoomId> {
        let now = Instant::now();
        let rooms = &self.rooms;
        let is_due = |(room, doubt): (&RoomId, &Doubt)| match doubt {
            Doubt::Now => Some(*room),
            Doubt::Gap(due) => (*due <= now).then_some(*room),
        };
        let due: Vec<_> = self.doubts.iter().filter_map(is_due).collect();
        let mut wanted = Vec::new();
        for room in due {
            if wanted.len() == count {
                break;
            }
            let doubt = self.doubts.remove(&room);
            let is_wanted = rooms
                .get(&room)
                .is_some_and(|replica| doubt == Some(Doubt::Now) || replica.has_hole());
            if is_wanted {
                wanted.push(room);
            }
        }
        wanted
    }
}
