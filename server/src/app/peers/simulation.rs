//! Instances that look, renew, send beacons and judge each other as the program does, on a clock of their own:
//! whoever is killed when, and whatever is cut off from whom.

use super::{
    super::{
        instances::{RENEW_AGAIN, RENEW_EVERY, RENEW_PATIENCE},
        revocations::{POLL_EVERY, POLL_PATIENCE, SPARED},
        upkeep::CUT_OFF_AFTER,
    },
    NOT_RENEWED_FOR, are_stores_lost_by_all, is_nobody_better_informed,
};
use crate::live::{BEACON_EVERY, Beacon, FENCE_AFTER, PeerSpeaks, Peers, REGISTRY_LEASE, SPEAKS};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use roost_schema::InstanceId;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(100);
/// The cut comes when all have run for so long.
const WARM: Duration = Duration::from_secs(25);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(45);
/// What C7 gives an instance that is cut off.
const CUT_OFF_KNOWN: Duration = Duration::from_secs(10);

/// What befalls an instance; times are seconds after all began.
#[derive(Clone, Debug)]
struct Fate {
    /// When its clocks tick, of each second and each renewal.
    phase: Duration,
    killed_at: Option<Duration>,
    /// The database and the journal do not answer it from the cut on.
    loses_stores: bool,
    loses_link: bool,
}

struct Simulated {
    id: InstanceId,
    fate: Fate,
    peers: Peers,
    polled: Option<Instant>,
    leased: Option<Instant>,
    answered: Option<Instant>,
    open_until: Instant,
    look: Duty,
    renewal: Duty,
    beacon_at: Instant,
}

/// Something done again and again that may take long.
struct Duty {
    due: Instant,
    /// When it began, if it is under way and will fail.
    began: Option<Instant>,
}

enum Done {
    Nothing,
    Well,
    Failed,
}

impl Duty {
    fn step(&mut self, now: Instant, is_answered: bool, patience: Duration) -> Done {
        match self.began {
            Some(began) if now >= began + patience => {
                self.began = None;
                Done::Failed
            }
            Some(_) => Done::Nothing,
            None if now < self.due => Done::Nothing,
            None if is_answered => Done::Well,
            None => {
                self.began = Some(now);
                Done::Nothing
            }
        }
    }
}

struct World {
    start: Instant,
    now: Instant,
    instances: Vec<Simulated>,
}

impl World {
    fn new(fates: &[Fate]) -> Self {
        let start = Instant::now();
        let instances = fates.iter().map(|fate| Simulated::new(start, fate.clone()));
        Self {
            start,
            now: start,
            instances: instances.collect(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn lives(&self, index: usize) -> bool {
        let killed_at = self.instances[index].fate.killed_at;
        killed_at.is_none_or(|at| self.elapsed() < at)
    }

    fn has_stores(&self, index: usize) -> bool {
        !self.instances[index].fate.loses_stores || self.elapsed() < WARM
    }

    fn up_for(&self, index: usize) -> Option<Duration> {
        let is_up = !self.instances[index].fate.loses_link || self.elapsed() < WARM;
        is_up.then(|| self.elapsed())
    }

    fn is_shut(&self, index: usize) -> bool {
        self.now > self.instances[index].open_until
    }

    fn is_cut_off(&self, index: usize) -> bool {
        let instance = &self.instances[index];
        let age = instance.answered.map(|at| self.now - at);
        age.is_none_or(|age| age > CUT_OFF_AFTER)
            && !are_stores_lost_by_all(&instance.peers, self.now, self.up_for(index))
    }

    fn step(&mut self) {
        self.now += STEP;
        for index in self.living().collect::<Vec<_>>() {
            self.renew(index);
            self.look(index);
            self.say(index);
        }
    }

    fn renew(&mut self, index: usize) {
        let (now, is_answered) = (self.now, self.has_stores(index));
        let registered: Vec<_> = self
            .instances
            .iter()
            .filter(|other| other.leased.is_some_and(|at| now - at < REGISTRY_LEASE))
            .map(|other| PeerSpeaks {
                instance: other.id,
                speaks: SPEAKS,
            })
            .collect();
        let own = &mut self.instances[index];
        match own.renewal.step(now, is_answered, RENEW_PATIENCE) {
            Done::Well => {
                let is_other = |row: &PeerSpeaks| row.instance != own.id;
                let others: Vec<_> = registered.into_iter().filter(is_other).collect();
                own.leased = Some(now);
                own.peers.set_registered(now, &others);
                own.renewal.due = now + RENEW_EVERY;
            }
            Done::Failed => own.renewal.due = now + RENEW_AGAIN,
            Done::Nothing => {}
        }
    }

    fn look(&mut self, index: usize) {
        let (now, is_answered, up_for) = (self.now, self.has_stores(index), self.up_for(index));
        let is_shut = self.is_shut(index);
        let own = &mut self.instances[index];
        let has_failed = match own.look.step(now, is_answered, POLL_PATIENCE) {
            Done::Nothing => return,
            Done::Well => {
                (own.polled, own.answered) = (Some(now), Some(now));
                let until = own.leased.map_or(now, |at| at + REGISTRY_LEASE);
                own.open_until = own.open_until.max(until.min(now + FENCE_AFTER));
                false
            }
            Done::Failed => true,
        };
        // The tick that was missed meanwhile comes at once.
        own.look.due = if has_failed { now } else { now + POLL_EVERY };
        let is_late = own.leased.is_some_and(|at| now - at >= NOT_RENEWED_FOR);
        if (has_failed || is_late) && is_nobody_better_informed(&own.peers, now, up_for, is_shut) {
            own.open_until = own.open_until.max(now + SPARED);
        }
    }

    fn say(&mut self, index: usize) {
        let now = self.now;
        let own = &mut self.instances[index];
        if now < own.beacon_at {
            return;
        }
        own.beacon_at = now + BEACON_EVERY;
        let age_ms = |at: Option<Instant>| {
            at.map(|at| u64::try_from((now - at).as_millis()).expect("it was lately"))
        };
        let beacon = Beacon {
            instance: own.id,
            revocations_age_ms: age_ms(own.polled),
            lease_age_ms: age_ms(own.leased),
            speaks: SPEAKS,
            stores_age_ms: age_ms(own.answered),
        };
        if self.up_for(index).is_none() {
            return;
        }
        for other in 0..self.instances.len() {
            if other != index && self.lives(other) && self.up_for(other).is_some() {
                self.instances[other].peers.hear(now, beacon.clone());
            }
        }
    }

    /// Steps until all began, and then until it was watched for long enough.
    fn watch(&mut self, mut each: impl FnMut(&Self, Duration)) {
        while self.elapsed() < WARM + WATCHED {
            self.step();
            if let Some(since_cut) = self.elapsed().checked_sub(WARM) {
                each(self, since_cut);
            }
        }
    }

    fn living(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.instances.len()).filter(|index| self.lives(*index))
    }
}

impl Simulated {
    fn new(start: Instant, fate: Fate) -> Self {
        let duty = |every: Duration| Duty {
            due: start + fate.phase.mul_f64(every.as_secs_f64()),
            began: None,
        };
        Self {
            id: InstanceId::generate(),
            peers: Peers::default(),
            polled: None,
            leased: None,
            answered: None,
            open_until: start + WARM,
            look: duty(POLL_EVERY),
            renewal: duty(RENEW_EVERY),
            beacon_at: start + fate.phase,
            fate,
        }
    }
}

/// Of the instances that follow the first, each may be killed: from before the cut until long after.
fn fates(others: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Fate>> {
    let kill = prop::option::of(
        WARM.saturating_sub(CUT_OFF_KNOWN).as_millis()..(WARM + WATCHED).as_millis(),
    );
    let fate = (0_u64..1_000, kill).prop_map(|(phase_ms, killed_ms)| Fate {
        phase: Duration::from_millis(phase_ms),
        killed_at: killed_ms
            .map(|at_ms| Duration::from_millis(u64::try_from(at_ms).expect("a minute"))),
        loses_stores: true,
        loses_link: false,
    });
    (0_u64..1_000, vec(fate, others)).prop_map(|(phase_ms, others)| {
        let first = Fate {
            phase: Duration::from_millis(phase_ms),
            killed_at: None,
            loses_stores: true,
            loses_link: false,
        };
        std::iter::once(first).chain(others).collect()
    })
}

proptest! {
    #![proptest_config(Config { cases: 96, ..Config::default() })]

    /// However many die, before the outage, with it or later.
    #[test]
    fn an_outage_for_all_fences_nobody_and_empties_no_readiness(fates in fates(0..5)) {
        let mut world = World::new(&fates);
        let mut verdict = Ok(());
        world.watch(|world, since| for index in world.living() {
            if world.is_shut(index) || world.is_cut_off(index) {
                let why = if world.is_shut(index) { "shut" } else { "not ready" };
                verdict = Err(TestCaseError::fail(format!("{index} is {why} {since:?} after the cut")));
            }
        });
        verdict?;
    }

    /// One that lives, is heard and has its stores: it may end sessions that the others hear nothing of.
    #[test]
    fn one_that_knows_more_fences_those_that_are_cut_off(fates in fates(1..5), cut in vec(any::<bool>(), 5)) {
        let mut fates = fates;
        fates[0].loses_stores = false;
        for (fate, is_cut) in fates.iter_mut().skip(1).zip(cut) {
            fate.loses_stores = is_cut;
        }
        let mut world = World::new(&fates);
        let mut verdict = Ok(());
        world.watch(|world, since| for index in world.living() {
            let is_cut = world.instances[index].fate.loses_stores;
            let must_be_shut = is_cut && since > CUT_OFF_KNOWN;
            if world.is_shut(index) != is_cut && (must_be_shut || !is_cut) {
                verdict = Err(TestCaseError::fail(format!("{index} is wrong {since:?} after the cut")));
            }
            if must_be_shut != world.is_cut_off(index) && (must_be_shut || !is_cut) {
                verdict = Err(TestCaseError::fail(format!("{index} is as ready {since:?} after the cut")));
            }
        });
        verdict?;
    }

    /// Without the link nothing is known of those that are registered, dead ones included; one that is
    /// alone knows that.
    #[test]
    fn without_a_link_nothing_is_known(fates in fates(0..5)) {
        let mut fates = fates;
        for fate in &mut fates {
            fate.loses_link = true;
            // Whoever died a lease before is registered no more.
            fate.killed_at = fate.killed_at.map(|at| at.max(WARM.saturating_sub(Duration::from_secs(1))));
        }
        let is_alone = fates.len() == 1;
        let mut world = World::new(&fates);
        let mut verdict = Ok(());
        world.watch(|world, since| for index in world.living() {
            let is_late = since > CUT_OFF_KNOWN;
            if is_late && (world.is_shut(index) == is_alone || world.is_cut_off(index) == is_alone) {
                verdict = Err(TestCaseError::fail(format!("{index} is wrong {since:?} after the cut")));
            }
        });
        verdict?;
    }
}
