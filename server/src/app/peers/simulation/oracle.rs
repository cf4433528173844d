//! The conditions that every instance must meet at every moment, with any faults. They are judged by the true state of
//! the world, not by what the instances know.

use super::world::{STEP, World};
use crate::{
    app::{
        instances::{RENEW_AGAIN, RENEW_PATIENCE},
        revocations::{EXTENSION, POLL_EVERY, POLL_PATIENCE},
    },
    live::{BEACON_EVERY, REGISTRY_LEASE, SILENT_AFTER},
};
use std::time::{Duration, Instant};

/// How long an instance that is cut off may serve (C7 of docs/delivery.md).
pub(super) const CUT_OFF_KNOWN: Duration = Duration::from_secs(10);
/// How long nothing must change until each instance is in its final state: a lease, and a read that times out.
pub(super) const SETTLED: Duration = REGISTRY_LEASE.saturating_add(POLL_PATIENCE);
/// How long after the last fault every instance serves.
const BACK: Duration = REGISTRY_LEASE.saturating_add(POLL_EVERY);
/// An instance that gets the database back may end sessions at once. The others get to know it when a renewal that was
/// under way has failed, and the next one has succeeded and was sent in a beacon. Until then an instance that stays cut
/// off keeps its fence open, for longer than C7 allows.
const UNHEARD: Duration = RENEW_PATIENCE
    .saturating_add(RENEW_AGAIN)
    .saturating_add(BEACON_EVERY);

/// The true state of another instance, as seen from one.
#[derive(Clone, Default)]
struct Truth {
    /// Since when it can end sessions, and send beacons.
    can_end_since: Option<Instant>,
    heard_since: Option<Instant>,
    /// When it could end sessions for the last time by its beacons, unless a later one said that it cannot.
    could_end_at: Option<Instant>,
    /// Since when it has its stores, and this instance has not.
    better_off_since: Option<Instant>,
}

pub(super) struct Oracle {
    truths: Vec<Vec<Truth>>,
    was_shut: Vec<bool>,
}

impl Oracle {
    pub(super) fn new(count: usize) -> Self {
        Self {
            truths: vec![vec![Truth::default(); count]; count],
            was_shut: vec![false; count],
        }
    }

    /// Checks the world after each of its steps.
    pub(super) fn see(&mut self, world: &World) -> Result<(), String> {
        for index in 0..world.count() {
            self.note(world, index);
            if world.is_awake(index) {
                self.judge(world, index)
                    .map_err(|what| format!("{index} {what}"))?;
            }
            self.was_shut[index] = world.is_shut(index);
        }
        Ok(())
    }

    fn note(&mut self, world: &World, index: usize) {
        let (now, is_linked) = (world.now(), world.up_for(index).is_some());
        // An instance that was alone when it lost the link takes itself for alone until the link is back.
        let is_deaf = !is_linked && world.knows_nobody(index);
        for other in (0..world.count()).filter(|other| *other != index) {
            let truth = &mut self.truths[index][other];
            let (speaks, can_write) = (world.speaks(other), world.can_write(other));
            let can_end = speaks && can_write && !world.is_shut(other) && !is_deaf;
            go_on(&mut truth.can_end_since, can_end, now);
            let is_heard = speaks && world.hears(index);
            go_on(&mut truth.heard_since, is_heard, now);
            let heard_for = truth.heard_since.map(|since| now - since);
            if is_heard && !can_write {
                truth.could_end_at = None;
            } else if heard_for.is_some_and(|lasted| lasted > BEACON_EVERY) {
                truth.could_end_at = Some(now);
            }
            let is_better_off = world.has_stores(other) && !world.has_stores(index);
            let knows = speaks && world.speaks(index);
            go_on(&mut truth.better_off_since, knows && is_better_off, now);
        }
    }

    fn judge(&self, world: &World, index: usize) -> Result<(), &'static str> {
        let is_shut = world.is_shut(index);
        let says_cut_off = world.says_cut_off_for(index).is_some();
        let is_cut_off = world.is_cut_off(index);
        if !is_shut && self.may_not_know(world, index) {
            return Err("serves and does not know which sessions ended");
        }
        let opens = self.was_shut[index] && !is_shut && !world.holds_itself_open(index);
        if opens && self.has_just_lost_one_that_knows(world, index) {
            return Err("opens by words that have aged");
        }
        if !(says_cut_off && is_cut_off) && self.is_worse_off(world, index) {
            return Err("is ready and cut off");
        }
        if world.quiet_for() > BACK && world.is_all_back() && (is_shut || says_cut_off) {
            return Err("does not serve though everything is back");
        }
        if world.quiet_for() <= SETTLED {
            return Ok(());
        }
        let has_slept = !world.fate(index).asleep.is_empty();
        match must_yield(world, index, World::can_write) {
            Some(true) if !is_shut && world.quiet_for() > UNHEARD + EXTENSION => {
                return Err("is open though another knows more");
            }
            // An instance that slept is shut until it has read the revocations.
            Some(false) if is_shut && (!has_slept || world.can_write(index)) => {
                return Err("is shut though no peer is better informed");
            }
            _ => {}
        }
        let must_be_cut_off = must_yield(world, index, World::has_stores);
        if must_be_cut_off.is_some_and(|must| says_cut_off != must || is_cut_off != must) {
            return Err("is ready, or not, without a reason");
        }
        Ok(())
    }

    /// Whether a session may have ended long ago that this instance has not read of.
    fn may_not_know(&self, world: &World, index: usize) -> bool {
        let polled = world.polled(index);
        self.truths[index].iter().any(|truth| {
            let Some(since) = truth.can_end_since else {
                return false;
            };
            let may_be_unheard = since + UNHEARD > polled;
            let given = if may_be_unheard {
                UNHEARD + EXTENSION
            } else {
                CUT_OFF_KNOWN
            };
            world.now() - since.max(polled) > given
        })
    }

    /// Whether another instance was better informed as it fell silent, and its last beacon is old and still counts.
    fn has_just_lost_one_that_knows(&self, world: &World, index: usize) -> bool {
        let counts = SILENT_AFTER + STEP..REGISTRY_LEASE.saturating_sub(BEACON_EVERY);
        let mut truths = self.truths[index].iter().enumerate();
        truths.any(|(other, truth)| {
            let silent_for = truth.could_end_at.map(|at| world.now() - at);
            let is_silent = other != index && !world.speaks(other);
            is_silent && silent_for.is_some_and(|silence| counts.contains(&silence))
        })
    }

    /// Whether another instance has had its stores for this long, and this instance has not.
    fn is_worse_off(&self, world: &World, index: usize) -> bool {
        let mut since = self.truths[index]
            .iter()
            .map(|truth| truth.better_off_since);
        since.any(|since| since.is_some_and(|since| world.now() - since > CUT_OFF_KNOWN))
    }
}

/// Keeps in `since` when a condition began to hold; `None` while it does not.
fn go_on(since: &mut Option<Instant>, is_so: bool, now: Instant) {
    *since = is_so.then(|| since.unwrap_or(now));
}

/// Whether an instance that has lost something must leave serving to others that have it. `None`: it depends on what
/// the instance knew before it lost the link.
fn must_yield(world: &World, index: usize, has: impl Fn(&World, usize) -> bool) -> Option<bool> {
    if has(world, index) {
        return Some(false);
    }
    if world.up_for(index).is_none() && world.count() > 1 {
        return None;
    }
    let mut others = (0..world.count()).filter(|other| *other != index);
    Some(others.any(|other| world.speaks(other) && has(world, other)))
}
