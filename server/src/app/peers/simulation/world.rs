//! The world of the simulated instances: its clock, the faults of each instance, and what each does.

use crate::{
    app::{
        instances::{RENEW_AGAIN, RENEW_EVERY, RENEW_PATIENCE},
        peers::{LookEnded, Standing, are_stores_lost_by_all, is_no_peer_better_informed},
        revocations::{EXTENSION, POLL_EVERY, POLL_PATIENCE},
        upkeep::CUT_OFF_AFTER,
    },
    live::{BEACON_EVERY, Beacon, FENCE_AFTER, PeerSpeaks, Peers, REGISTRY_LEASE, SPEAKS},
};
use roost_schema::InstanceId;
use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// How far the clock goes in one step. An answer takes one step, and so does a refusal.
pub(super) const STEP: Duration = Duration::from_millis(100);
/// The times of the probes in `transport/health.rs`.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// A stretch of time since the beginning; an empty one is never.
pub(super) type Stretch = Range<Duration>;

/// The faults of an instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate {
    /// The phase of its timers within their period.
    pub(super) phase: Duration,
    /// Whether lost stores refuse at once. Else they do not answer before its patience is over.
    pub(super) is_refused: bool,
    pub(super) killed_at: Option<Duration>,
    /// When its process is stopped.
    pub(super) asleep: Stretch,
    pub(super) no_database: Stretch,
    /// When the database takes no writes of it.
    pub(super) no_writes: Stretch,
    pub(super) no_journal: Stretch,
    pub(super) no_link: Stretch,
}

impl Fate {
    pub(super) fn loses_stores(&self) -> bool {
        !self.no_database.is_empty() || !self.no_journal.is_empty()
    }

    fn changes(&self) -> impl Iterator<Item = Duration> {
        let stretches = [
            &self.asleep,
            &self.no_database,
            &self.no_writes,
            &self.no_journal,
            &self.no_link,
        ];
        let stretches = stretches.into_iter().filter(|stretch| !stretch.is_empty());
        let ends = stretches.flat_map(|stretch| [stretch.start, stretch.end]);
        ends.chain(self.killed_at)
    }
}

struct Simulated {
    id: InstanceId,
    fate: Fate,
    peers: Peers,
    standing: Standing,
    /// When the last read of the revocations began, and the last that succeeded.
    looked: Instant,
    polled: Instant,
    leased: Instant,
    answered: Option<Instant>,
    open_until: Instant,
    cut_off_since: Option<Instant>,
    look: PeriodicCall,
    renewal: PeriodicCall,
    probe: PeriodicCall,
    beacon_at: Instant,
}

/// A call that is repeated, and that may take long.
struct PeriodicCall {
    due: Instant,
    /// When it began, if it is under way, and whether it will be answered.
    under_way: Option<(Instant, bool)>,
}

struct Done {
    began: Instant,
    has_failed: bool,
}

impl PeriodicCall {
    fn step(&mut self, now: Instant, is_answered: bool, patience: Duration) -> Option<Done> {
        let Some((began, is_answered)) = self.under_way else {
            self.under_way = (now >= self.due).then_some((now, is_answered));
            return None;
        };
        let lasts = if is_answered { STEP } else { patience };
        if now < began + lasts {
            return None;
        }
        self.under_way = None;
        Some(Done {
            began,
            has_failed: !is_answered,
        })
    }
}

pub(super) struct World {
    start: Instant,
    now: Instant,
    instances: Vec<Simulated>,
}

impl World {
    pub(super) fn new(fates: &[Fate]) -> Self {
        let start = Instant::now();
        let instances = fates.iter().map(|fate| Simulated::new(start, fate.clone()));
        Self {
            start,
            now: start,
            instances: instances.collect(),
        }
    }

    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// How long ago the last fault of any instance began or ended.
    pub(super) fn quiet_for(&self) -> Duration {
        let elapsed = self.elapsed();
        let changes = self.instances.iter().flat_map(|one| one.fate.changes());
        let last = changes.filter(|at| *at <= elapsed).max();
        elapsed.saturating_sub(last.unwrap_or_default())
    }

    pub(super) const fn count(&self) -> usize {
        self.instances.len()
    }

    pub(super) fn fate(&self, index: usize) -> &Fate {
        &self.instances[index].fate
    }

    pub(super) fn awake(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).filter(|index| self.is_awake(*index))
    }

    pub(super) fn is_awake(&self, index: usize) -> bool {
        self.lives(index) && !self.fate(index).asleep.contains(&self.elapsed())
    }

    fn lives(&self, index: usize) -> bool {
        let killed_at = self.fate(index).killed_at;
        killed_at.is_none_or(|at| self.elapsed() < at)
    }

    fn has_database(&self, index: usize) -> bool {
        !self.fate(index).no_database.contains(&self.elapsed())
    }

    /// Whether sessions can be ended on the instance.
    pub(super) fn can_write(&self, index: usize) -> bool {
        self.has_database(index) && !self.fate(index).no_writes.contains(&self.elapsed())
    }

    pub(super) fn has_stores(&self, index: usize) -> bool {
        self.has_database(index) && !self.fate(index).no_journal.contains(&self.elapsed())
    }

    pub(super) fn up_for(&self, index: usize) -> Option<Duration> {
        let (down, elapsed) = (&self.fate(index).no_link, self.elapsed());
        let since = if elapsed >= down.end {
            down.end
        } else {
            Duration::ZERO
        };
        (!down.contains(&elapsed)).then(|| elapsed.saturating_sub(since))
    }

    /// Whether the other instances receive its beacons.
    pub(super) fn speaks(&self, index: usize) -> bool {
        self.is_awake(index) && self.up_for(index).is_some()
    }

    /// Whether the instance receives beacons. Those that were sent to a sleeping one wait for it, but its connections
    /// do not survive a long sleep.
    pub(super) fn hears(&self, index: usize) -> bool {
        let asleep = &self.fate(index).asleep;
        let is_out = asleep.contains(&self.elapsed())
            && asleep.end.saturating_sub(asleep.start) > FENCE_AFTER;
        self.lives(index) && self.up_for(index).is_some() && !is_out
    }

    /// Whether every living instance has its stores and its link.
    pub(super) fn is_all_back(&self) -> bool {
        let mut living = (0..self.count()).filter(|index| self.lives(*index));
        living.all(|index| self.speaks(index) && self.can_write(index) && self.has_stores(index))
    }

    /// Whether the instance takes itself for the only one.
    pub(super) fn knows_nobody(&self, index: usize) -> bool {
        let peers = &self.instances[index].peers;
        peers.are_all(self.now, None, |_| false)
    }

    pub(super) fn polled(&self, index: usize) -> Instant {
        self.instances[index].polled
    }

    pub(super) fn is_shut(&self, index: usize) -> bool {
        self.now > self.instances[index].open_until
    }

    /// Whether its own reads and renewals are enough to keep its fence open.
    pub(super) fn holds_itself_open(&self, index: usize) -> bool {
        self.now <= self.instances[index].known_until()
    }

    /// Whether it would not be ready if a probe failed now.
    pub(super) fn is_cut_off(&self, index: usize) -> bool {
        let own = &self.instances[index];
        let age = own.answered.map(|at| self.now - at);
        age.is_none_or(|age| age > CUT_OFF_AFTER)
            && !are_stores_lost_by_all(&own.peers, self.now, self.up_for(index))
    }

    /// For how long its readiness has been `CutOff`.
    pub(super) fn says_cut_off_for(&self, index: usize) -> Option<Duration> {
        let since = self.instances[index].cut_off_since?;
        Some(self.now - since)
    }

    pub(super) fn step(&mut self) {
        self.now += STEP;
        for index in self.awake().collect::<Vec<_>>() {
            self.renew(index);
            self.look(index);
            self.probe(index);
            self.say(index);
        }
    }

    fn patience(&self, index: usize, patience: Duration) -> Duration {
        if self.fate(index).is_refused {
            STEP
        } else {
            patience
        }
    }

    fn renew(&mut self, index: usize) {
        let (now, is_answered) = (self.now, self.can_write(index));
        let patience = self.patience(index, RENEW_PATIENCE);
        let renewal = &mut self.instances[index].renewal;
        let Some(done) = renewal.step(now, is_answered, patience) else {
            return;
        };
        if done.has_failed {
            renewal.due = now + RENEW_AGAIN;
            return;
        }
        renewal.due = done.began + RENEW_EVERY;
        let id = self.instances[index].id;
        let others = self.instances.iter().filter(|other| other.id != id);
        let registered = others.filter(|other| now - other.leased < REGISTRY_LEASE);
        let rows: Vec<_> = registered
            .map(|other| PeerSpeaks {
                instance: other.id,
                speaks: SPEAKS,
            })
            .collect();
        let own = &mut self.instances[index];
        own.leased = done.began;
        own.peers.set_registered(now, &rows);
    }

    fn look(&mut self, index: usize) {
        let (now, up_for) = (self.now, self.up_for(index));
        let is_answered = self.has_database(index);
        let patience = self.patience(index, POLL_PATIENCE);
        let own = &mut self.instances[index];
        let Some(done) = own.look.step(now, is_answered, patience) else {
            return;
        };
        // A timer that is overdue fires at once.
        own.look.due = done.began + POLL_EVERY;
        if !done.has_failed {
            own.polled = done.began;
            own.open_until = own.open_until.max(own.known_until());
        }
        own.standing = own.standing.after(&LookEnded {
            pause: done.began - own.looked,
            lasted: now - done.began,
            has_failed: done.has_failed,
            lease_age: Some(now - own.leased),
        });
        own.looked = done.began;
        let is_shut = now > own.open_until;
        if own.standing.may_be_spared()
            && is_no_peer_better_informed(&own.peers, now, up_for, is_shut)
        {
            own.open_until = own.open_until.max(now + EXTENSION);
        }
    }

    fn probe(&mut self, index: usize) {
        let (now, is_answered) = (self.now, self.has_stores(index));
        let patience = self.patience(index, PROBE_PATIENCE);
        let probe = &mut self.instances[index].probe;
        let Some(done) = probe.step(now, is_answered, patience) else {
            return;
        };
        probe.due = done.began + PROBE_EVERY;
        if !done.has_failed {
            self.instances[index].answered = Some(done.began);
        }
        let is_cut_off = done.has_failed && self.is_cut_off(index);
        let own = &mut self.instances[index];
        own.cut_off_since = is_cut_off.then(|| own.cut_off_since.unwrap_or(now));
    }

    fn say(&mut self, index: usize) {
        let (now, speaks) = (self.now, self.speaks(index));
        let own = &mut self.instances[index];
        if now < own.beacon_at {
            return;
        }
        own.beacon_at = now + BEACON_EVERY;
        let age_ms = |at: Instant| u64::try_from((now - at).as_millis()).expect("it was lately");
        let beacon = Beacon {
            instance: own.id,
            revocations_age_ms: Some(age_ms(own.polled)),
            lease_age_ms: Some(age_ms(own.leased)),
            speaks: SPEAKS,
            stores_age_ms: own.answered.map(age_ms),
        };
        for other in 0..self.count() {
            if speaks && other != index && self.hears(other) {
                self.instances[other].peers.receive(now, beacon.clone());
            }
        }
    }
}

impl Simulated {
    /// An instance that is registered and has read the revocations.
    fn new(start: Instant, fate: Fate) -> Self {
        let duty = |every: Duration| PeriodicCall {
            due: start + fate.phase.mul_f64(every.as_secs_f64()),
            under_way: None,
        };
        Self {
            id: InstanceId::generate(),
            peers: Peers::default(),
            standing: Standing::default(),
            looked: start,
            polled: start,
            leased: start,
            answered: None,
            open_until: start + FENCE_AFTER,
            cut_off_since: None,
            look: duty(POLL_EVERY),
            renewal: duty(RENEW_EVERY),
            probe: duty(PROBE_EVERY),
            beacon_at: start + fate.phase,
            fate,
        }
    }

    /// Until when the fence stays open by itself: a read counts no longer than the lease.
    fn known_until(&self) -> Instant {
        (self.polled + FENCE_AFTER).min(self.leased + REGISTRY_LEASE)
    }
}
