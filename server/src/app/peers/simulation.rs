//! Simulates instances that read revocations, renew leases, send beacons and judge each other as the program does, on a
//! clock of their own, while some are killed, sleep, or lose a store or the link, and get it back.

mod oracle;
mod world;

use oracle::{CUT_OFF_KNOWN, Oracle, SETTLED};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::{ops::Range, time::Duration};
use world::{Fate, STEP, Stretch, World};

/// When an outage begins that all instances share.
const CUT: Duration = Duration::from_secs(25);
/// When the first fault of a single instance may begin.
const FIRST: Duration = Duration::from_secs(15);
/// When every fault that ends has ended.
const OVER: Duration = Duration::from_secs(70);
/// How long the simulation runs.
const END: Duration = Duration::from_secs(85);
/// An outage that does not end.
const FOR_GOOD: Stretch = CUT..Duration::MAX;

/// What all instances lose at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Database,
    Writes,
    Journal,
}

/// Calls `each` after each step, once all instances know each other, with the time since the cut.
fn watch(
    fates: &[Fate],
    mut each: impl FnMut(&World, Duration) -> Result<(), String>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(fates);
    while world.elapsed() < END {
        world.step();
        let elapsed = world.elapsed();
        if elapsed >= SETTLED {
            each(&world, elapsed.saturating_sub(CUT)).map_err(|what| {
                TestCaseError::fail(format!("{what}, {elapsed:?} after all began"))
            })?;
        }
    }
    Ok(())
}

fn duration(range_ms: Range<u64>) -> impl Strategy<Value = Duration> {
    range_ms.prop_map(Duration::from_millis)
}

fn untouched() -> impl Strategy<Value = Fate> {
    (duration(0..1_000), any::<bool>()).prop_map(|(phase, is_refused)| Fate {
        phase,
        is_refused,
        ..Fate::default()
    })
}

/// A time of death, from before the shared outage until long after its beginning.
fn kill() -> impl Strategy<Value = Duration> {
    duration(0..55_000).prop_map(|after| FIRST + after)
}

fn stretch() -> impl Strategy<Value = Stretch> {
    (duration(0..40_000), duration(100..40_000)).prop_map(|(after, lasts)| {
        let start = FIRST + after;
        start..OVER.min(start + lasts)
    })
}

/// A stretch with this probability; else an empty one.
fn maybe(weight: f64) -> impl Strategy<Value = Stretch> {
    prop::option::weighted(weight, stretch()).prop_map(Option::unwrap_or_default)
}

/// An instance that may be killed.
fn mortal() -> impl Strategy<Value = Fate> {
    (untouched(), prop::option::of(kill())).prop_map(|(fate, killed_at)| Fate { killed_at, ..fate })
}

/// An instance that may fall silent: killed, asleep or without its link.
fn silent() -> impl Strategy<Value = Fate> {
    let asleep = (untouched(), stretch()).prop_map(|(fate, asleep)| Fate { asleep, ..fate });
    let unlinked = (untouched(), stretch()).prop_map(|(fate, no_link)| Fate { no_link, ..fate });
    prop_oneof![3 => mortal(), 1 => asleep, 1 => unlinked]
}

/// An instance with any faults.
fn any_fate() -> impl Strategy<Value = Fate> {
    let stretches = (
        maybe(0.25),
        maybe(0.5),
        maybe(0.25),
        maybe(0.25),
        maybe(0.25),
    );
    let killed_at = prop::option::weighted(0.2, kill());
    (untouched(), killed_at, stretches).prop_map(|(fate, killed_at, stretches)| {
        let (asleep, no_database, no_writes, no_journal, no_link) = stretches;
        Fate {
            killed_at,
            asleep,
            no_database,
            no_writes,
            no_journal,
            no_link,
            ..fate
        }
    })
}

/// The fates of all instances; the first has no fault of its own.
fn first_and(others: impl Strategy<Value = Vec<Fate>>) -> impl Strategy<Value = Vec<Fate>> {
    (untouched(), others).prop_map(|(first, others)| std::iter::once(first).chain(others).collect())
}

proptest! {
    #![proptest_config(Config { cases: 96, ..Config::default() })]

    /// It holds however many instances fall silent, before the outage, with it or later, and also when the outage ends.
    #[test]
    fn an_outage_for_all_fences_no_instance_and_ends_no_readiness(
        fates in first_and(vec(silent(), 0..5)),
        lost in prop_oneof![Just(Lost::Database), Just(Lost::Writes), Just(Lost::Journal)],
        lose_journal in vec(any::<bool>(), 5),
        lasts in duration(100..45_000),
    ) {
        let mut fates = fates;
        for (fate, loses_journal) in fates.iter_mut().zip(lose_journal) {
            let outage = CUT..CUT + lasts;
            match lost {
                Lost::Database => fate.no_database = outage.clone(),
                Lost::Writes => fate.no_writes = outage.clone(),
                Lost::Journal => {}
            }
            if loses_journal || lost == Lost::Journal {
                fate.no_journal = outage;
            }
        }
        let have_all_lost_stores = fates.iter().all(Fate::loses_stores);
        watch(&fates, |world, since| {
            for index in world.awake() {
                let fate = world.fate(index);
                if !fate.asleep.is_empty() || !fate.no_link.is_empty() {
                    continue;
                }
                if world.is_shut(index) {
                    return Err(format!("{index} is shut"));
                }
                if fate.loses_stores() && !have_all_lost_stores {
                    continue;
                }
                // A probe that was under way at the end may fail when others are answered again.
                // The next probe begins at once.
                let given = if since < lasts { Duration::ZERO } else { 2 * STEP };
                let said_for = world.says_cut_off_for(index);
                let says_cut_off = said_for.is_some_and(|said_for| said_for >= given);
                if says_cut_off || (since < lasts && world.is_cut_off(index)) {
                    return Err(format!("{index} is not ready"));
                }
            }
            Ok(())
        })?;
    }

    /// One instance lives, has its link and its stores: it may end sessions that the others cannot read of.
    #[test]
    fn a_better_informed_instance_fences_those_that_are_cut_off(
        fates in first_and(vec(mortal(), 1..5)),
        cuts in vec(any::<(bool, bool)>(), 5),
    ) {
        let mut fates = fates;
        for (fate, (loses_database, loses_journal)) in fates.iter_mut().skip(1).zip(cuts) {
            if loses_database {
                fate.no_database = FOR_GOOD;
            }
            if loses_journal {
                fate.no_journal = FOR_GOOD;
            }
        }
        watch(&fates, |world, since| {
            let is_late = since > CUT_OFF_KNOWN;
            for index in world.awake() {
                let fate = world.fate(index);
                let says_cut_off = world.says_cut_off_for(index).is_some();
                let verdicts = [
                    (world.is_shut(index), !fate.no_database.is_empty(), "shut"),
                    (world.is_cut_off(index), fate.loses_stores(), "cut off"),
                    (says_cut_off, fate.loses_stores(), "known to be cut off"),
                ];
                for (is_so, is_cut, what) in verdicts {
                    if is_so != is_cut && (is_late || !is_cut) {
                        return Err(format!("{index} is {what}: {is_so}"));
                    }
                }
            }
            Ok(())
        })?;
    }

    /// Without the link the state of registered instances is unknown, dead ones included. An instance that is
    /// registered alone knows that it is alone.
    #[test]
    fn without_a_link_nothing_is_known(fates in first_and(vec(mortal(), 0..5))) {
        let mut fates = fates;
        for fate in &mut fates {
            (fate.no_database, fate.no_journal, fate.no_link) = (FOR_GOOD, FOR_GOOD, FOR_GOOD);
            // An instance that died a lease before is no longer registered.
            let before = CUT.saturating_sub(Duration::from_secs(1));
            fate.killed_at = fate.killed_at.map(|at| at.max(before));
        }
        let is_alone = fates.len() == 1;
        watch(&fates, |world, since| {
            for index in world.awake().filter(|_| since > CUT_OFF_KNOWN) {
                let says_cut_off = world.says_cut_off_for(index).is_some();
                let verdicts = [world.is_shut(index), world.is_cut_off(index), says_cut_off];
                if verdicts.contains(&is_alone) {
                    return Err(format!("{index} is wrong"));
                }
            }
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(Config { cases: 192, ..Config::default() })]

    /// `oracle.rs` has the conditions.
    #[test]
    fn with_any_faults_each_serves_if_and_only_if_it_may(fates in vec(any_fate(), 1..6)) {
        let mut oracle = Oracle::new(fates.len());
        watch(&fates, |world, _| oracle.see(world))?;
    }
}
