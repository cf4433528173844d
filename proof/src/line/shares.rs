//! The share of deliveries over the backplane. A *delivery* is an entry that an instance received, from any source.
//! Entries that were read again for one slow reader (`feed`) are printed and not judged, because the instance already
//! had them.

use super::{
    FAULT_WINDOW,
    deliveries::{BACKPLANE, Delivered, FEED, LOCAL, WAYS},
};
use anyhow::{Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::RoomId;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The least share of the backplane, in parts of a thousand.
const BACKPLANE_PER_MILLE_MIN: u64 = 990;
/// How much of the time must lie outside the windows of the faults, in percent.
const CALM_PERCENT_MIN: f64 = 50.0;

/// How many deliveries from other sources an error lists.
const EXAMPLES_MAX: usize = 20;

/// A pass according to the logs.
pub(super) struct Seen<'a> {
    pub(super) delivered: &'a [Delivered],
    pub(super) began: DateTime<Utc>,
    pub(super) ended: DateTime<Utc>,
    pub(super) faults: &'a [DateTime<Utc>],
}

/// A stretch of time without the consequences of a fault.
type Calm = (DateTime<Utc>, DateTime<Utc>);

impl Seen<'_> {
    /// The deliveries during the pass.
    pub(super) fn during(&self) -> impl Iterator<Item = &Delivered> {
        let (began, ended) = (self.began, self.ended);
        let is_during = move |delivered: &&Delivered| (began..=ended).contains(&delivered.at);
        self.delivered.iter().filter(is_during)
    }

    pub(super) fn print_ways(&self) {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for delivered in self.during() {
            *counts.entry(&delivered.way).or_default() += delivered.count;
        }
        let count = |way: &&str| format!("{way} {}", counts.get(way).copied().unwrap_or(0));
        let ways: Vec<_> = WAYS.iter().map(count).collect();
        println!(
            "deliveries (entries that came to an instance) by path: {}",
            ways.join(", ")
        );
    }

    /// Judges deliveries outside the fault windows, in rooms that exactly one other instance wrote in.
    pub(super) fn judge_backplane(&self, judged_min: u64) -> Result<()> {
        let calms = self.calms();
        let mut judged = 0;
        let mut others: BTreeMap<&str, u64> = BTreeMap::new();
        let mut examples = Vec::new();
        let acknowledged = self.acknowledged();
        let mut early = 0;
        for calm in &calms {
            let inside: Vec<_> = self.within(calm).collect();
            let writers = sole_writers(&inside);
            for delivered in inside {
                let writer = writers.get(&delivered.room);
                if delivered.way == FEED || writer.is_none_or(|at| *at == delivered.instance) {
                    continue;
                }
                if acknowledged
                    .get(&(delivered.room, delivered.last))
                    .is_some_and(|at| delivered.at < *at)
                {
                    early += delivered.count;
                    continue;
                }
                judged += delivered.count;
                *others.entry(&delivered.way).or_default() += delivered.count;
                if delivered.way != BACKPLANE {
                    examples.push(self.describe(delivered));
                }
            }
        }
        let by_backplane = others.remove(BACKPLANE).unwrap_or(0);
        let seconds = |span: TimeDelta| span.as_seconds_f64();
        let whole = seconds(self.ended - self.began);
        let calm: f64 = calms.iter().map(|(from, to)| seconds(*to - *from)).sum();
        println!(
            "outside {} s after each of {} faults, {calm:.1} of {whole:.1} s, in rooms with one writing instance, \
             on the others: {judged} deliveries, {by_backplane} by the backplane ({}), else {others:?}; \
             {early} more were read before their writer was told that they are in the journal",
            FAULT_WINDOW.as_secs(),
            self.faults.len(),
            percent(by_backplane, judged),
        );
        if calm * 100.0 < whole * CALM_PERCENT_MIN {
            bail!("only {calm:.1} of {whole:.1} s lie outside the faults");
        }
        if judged < judged_min {
            bail!("only {judged} of at least {judged_min} deliveries can be judged");
        }
        if by_backplane * 1_000 < judged * BACKPLANE_PER_MILLE_MIN {
            examples.truncate(EXAMPLES_MAX);
            bail!(
                "only {} of {judged} deliveries came by the backplane; of the others:\n{}",
                percent(by_backplane, judged),
                examples.join("\n")
            );
        }
        Ok(())
    }

    /// The time at which each writer received its journal's acknowledgement. No instance can announce an entry before
    /// that.
    fn acknowledged(&self) -> HashMap<(RoomId, u64), DateTime<Utc>> {
        let local = self.delivered.iter().filter(|at| at.way == LOCAL);
        local
            .flat_map(|at| (at.first..=at.last).map(|seq| ((at.room, seq), at.at)))
            .collect()
    }

    fn describe(&self, delivered: &Delivered) -> String {
        format!(
            "  {:>7.2} s: {} entries of {} on instance {} by {}",
            (delivered.at - self.began).as_seconds_f64(),
            delivered.count,
            delivered.room,
            delivered.instance + 1,
            delivered.way
        )
    }

    fn within(&self, (from, to): &Calm) -> impl Iterator<Item = &Delivered> {
        let (from, to) = (*from, *to);
        self.delivered
            .iter()
            .filter(move |delivered| (from..to).contains(&delivered.at))
    }

    fn calms(&self) -> Vec<Calm> {
        let mut calms = Vec::new();
        let mut from = self.began;
        for fault in self.faults {
            if *fault > from {
                calms.push((from, *fault));
            }
            from = from.max(*fault + FAULT_WINDOW);
        }
        if self.ended > from {
            calms.push((from, self.ended));
        }
        calms
    }
}

/// The rooms that exactly one instance wrote in, with that instance.
fn sole_writers(delivered: &[&Delivered]) -> HashMap<RoomId, usize> {
    let mut writers: HashMap<RoomId, HashSet<usize>> = HashMap::new();
    for delivered in delivered.iter().filter(|delivered| delivered.way == LOCAL) {
        let of_room = writers.entry(delivered.room).or_default();
        of_room.insert(delivered.instance);
    }
    let sole = |(room, writers): (RoomId, HashSet<usize>)| {
        let mut writers = writers.into_iter();
        let writer = writers.next()?;
        writers.next().is_none().then_some((room, writer))
    };
    writers.into_iter().filter_map(sole).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share of some thousands")]
pub(super) fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", part as f64 * 100.0 / whole.max(1) as f64)
}
