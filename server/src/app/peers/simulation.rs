//! Instances that look, renew, send beacons and judge each other as the program does, on a clock of their own:
//! whoever is killed or sleeps when, and whatever is cut off from whom, and comes back.

mod judge;
mod world;

use judge::{CUT_OFF_KNOWN, Judge, SETTLED};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::{ops::Range, time::Duration};
use world::{Fate, STEP, Stretch, World};

/// The outages that all have in common begin when all have run for so long.
const CUT: Duration = Duration::from_secs(25);
/// What befalls some begins from then on.
const FIRST: Duration = Duration::from_secs(15);
/// By then everything is back that comes back.
const OVER: Duration = Duration::from_secs(70);
/// Until then it is watched.
const END: Duration = Duration::from_secs(85);
/// It does not come back.
const FOR_GOOD: Stretch = CUT..Duration::MAX;

/// What all lose at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lost {
    Database,
    Writes,
    Journal,
}

/// Calls `each` after each step, once everybody knows everybody, with the time since the cut.
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

/// From before the common cut until long after.
fn kill() -> impl Strategy<Value = Duration> {
    duration(0..55_000).prop_map(|after| FIRST + after)
}

fn stretch() -> impl Strategy<Value = Stretch> {
    (duration(0..40_000), duration(100..40_000)).prop_map(|(after, lasts)| {
        let start = FIRST + after;
        start..OVER.min(start + lasts)
    })
}

/// With this probability; else never.
fn maybe(weight: f64) -> impl Strategy<Value = Stretch> {
    prop::option::weighted(weight, stretch()).prop_map(Option::unwrap_or_default)
}

/// One that may be killed.
fn mortal() -> impl Strategy<Value = Fate> {
    (untouched(), prop::option::of(kill())).prop_map(|(fate, killed_at)| Fate { killed_at, ..fate })
}

/// One that may fall silent: killed, asleep or without its link.
fn silent() -> impl Strategy<Value = Fate> {
    let asleep = (untouched(), stretch()).prop_map(|(fate, asleep)| Fate { asleep, ..fate });
    let unlinked = (untouched(), stretch()).prop_map(|(fate, no_link)| Fate { no_link, ..fate });
    prop_oneof![3 => mortal(), 1 => asleep, 1 => unlinked]
}

/// One that anything may befall.
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

/// Nothing befalls the first by itself.
fn first_and(others: impl Strategy<Value = Vec<Fate>>) -> impl Strategy<Value = Vec<Fate>> {
    (untouched(), others).prop_map(|(first, others)| std::iter::once(first).chain(others).collect())
}

proptest! {
    #![proptest_config(Config { cases: 96, ..Config::default() })]

    /// However many fall silent, before the outage, with it or later; nor does its end.
    #[test]
    fn an_outage_for_all_fences_nobody_and_empties_no_readiness(
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
                // The next begins at once.
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

    /// One that lives, is heard and has its stores: it may end sessions that the others hear nothing of.
    #[test]
    fn one_that_knows_more_fences_those_that_are_cut_off(
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

    /// Without the link nothing is known of those that are registered, dead ones included; one that is
    /// alone knows that.
    #[test]
    fn without_a_link_nothing_is_known(fates in first_and(vec(mortal(), 0..5))) {
        let mut fates = fates;
        for fate in &mut fates {
            (fate.no_database, fate.no_journal, fate.no_link) = (FOR_GOOD, FOR_GOOD, FOR_GOOD);
            // Whoever died a lease before is registered no more.
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

    /// See `judge.rs`.
    #[test]
    fn whatever_befalls_whom_each_serves_if_and_only_if_it_may(fates in vec(any_fate(), 1..6)) {
        let mut judge = Judge::new(fates.len());
        watch(&fates, |world, _| judge.see(world))?;
    }
}
