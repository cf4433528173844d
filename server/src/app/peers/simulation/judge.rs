//! What must hold of every instance at every moment, whatever befalls whom: judged by what is true, not by what
//! the instances know.

use super::world::{STEP, World};
use crate::{
    app::{
        instances::{RENEW_AGAIN, RENEW_PATIENCE},
        revocations::{POLL_EVERY, POLL_PATIENCE, SPARED},
    },
    live::{BEACON_EVERY, REGISTRY_LEASE, SILENT_AFTER},
};
use std::time::{Duration, Instant};

/// What C7 of docs/delivery.md gives an instance that is cut off.
pub(super) const CUT_OFF_KNOWN: Duration = Duration::from_secs(10);
/// When nothing has changed for a lease and a look that waits for nothing, each is as it must be.
pub(super) const SETTLED: Duration = REGISTRY_LEASE.saturating_add(POLL_PATIENCE);
/// When everything is back for so long, everybody serves.
const BACK: Duration = REGISTRY_LEASE.saturating_add(POLL_EVERY);
/// An instance that gets the database back may end sessions at once. The others hear of it when a renewal that was
/// under way has failed, and the next was made and told. Until then they spare themselves: one that stays cut off
/// serves for longer than C7 gives.
const UNHEARD: Duration = RENEW_PATIENCE
    .saturating_add(RENEW_AGAIN)
    .saturating_add(BEACON_EVERY);

/// What is true of another instance, from the point of view of one.
#[derive(Clone, Default)]
struct Truth {
    /// Since when it can end sessions, and say so.
    can_end_since: Option<Instant>,
    heard_since: Option<Instant>,
    /// When it could end sessions for the last time as far as was heard, unless it has said since that it cannot.
    could_end_at: Option<Instant>,
    /// Since when it has its stores, and this one has not.
    better_off_since: Option<Instant>,
}

pub(super) struct Judge {
    truths: Vec<Vec<Truth>>,
    was_shut: Vec<bool>,
}

impl Judge {
    pub(super) fn new(count: usize) -> Self {
        Self {
            truths: vec![vec![Truth::default(); count]; count],
            was_shut: vec![false; count],
        }
    }

    /// Looks at the world after each of its steps.
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
        // One that was alone when it lost the link takes itself for alone until it is back.
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
            Some(true) if !is_shut && world.quiet_for() > UNHEARD + SPARED => {
                return Err("is open though another knows more");
            }
            // One that slept is shut until it has looked.
            Some(false) if is_shut && (!has_slept || world.can_write(index)) => {
                return Err("is shut though nobody knows more");
            }
            _ => {}
        }
        let must_be_cut_off = must_yield(world, index, World::has_stores);
        if must_be_cut_off.is_some_and(|must| says_cut_off != must || is_cut_off != must) {
            return Err("is ready, or not, without a reason");
        }
        Ok(())
    }

    /// Whether a session may have ended long ago that this one has not read of.
    fn may_not_know(&self, world: &World, index: usize) -> bool {
        let polled = world.polled(index);
        self.truths[index].iter().any(|truth| {
            let Some(since) = truth.can_end_since else {
                return false;
            };
            let may_be_unheard = since + UNHEARD > polled;
            let given = if may_be_unheard {
                UNHEARD + SPARED
            } else {
                CUT_OFF_KNOWN
            };
            world.now() - since.max(polled) > given
        })
    }

    /// Whether another knew more as it fell silent, and its last word is old and still counts.
    fn has_just_lost_one_that_knows(&self, world: &World, index: usize) -> bool {
        let counts = SILENT_AFTER + STEP..REGISTRY_LEASE.saturating_sub(BEACON_EVERY);
        let mut truths = self.truths[index].iter().enumerate();
        truths.any(|(other, truth)| {
            let silent_for = truth.could_end_at.map(|at| world.now() - at);
            let is_silent = other != index && !world.speaks(other);
            is_silent && silent_for.is_some_and(|silence| counts.contains(&silence))
        })
    }

    /// Whether another has its stores for so long, and this one has not.
    fn is_worse_off(&self, world: &World, index: usize) -> bool {
        let mut since = self.truths[index]
            .iter()
            .map(|truth| truth.better_off_since);
        since.any(|since| since.is_some_and(|since| world.now() - since > CUT_OFF_KNOWN))
    }
}

/// `since` is when something began that still goes on.
fn go_on(since: &mut Option<Instant>, is_so: bool, now: Instant) {
    *since = is_so.then(|| since.unwrap_or(now));
}

/// Whether one that has lost something must leave serving to others that have it. `None`: that depends on what it
/// knew before it lost the link.
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
