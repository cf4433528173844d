//! Compares the senders' outcomes and the readers' frames with the journal.

use super::{
    journal::{Kept, canonical},
    ledger::Outcome,
    people::{Evidence, UNANSWERED_MIN},
    reader::Reading,
};
use anyhow::{Result, bail};
use roost_schema::{ItemId, Op, RoomId, Seq};
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::Ordering::SeqCst,
};

/// The journal of one room, by seq.
type Log<'a> = BTreeMap<u64, &'a Kept>;

/// Prints the figures; an error lists all faults.
pub(super) fn judge(evidence: &Evidence, kept: &[Kept]) -> Result<()> {
    let mut faults = Vec::new();
    let mut logs: HashMap<RoomId, Log<'_>> = HashMap::new();
    for entry in kept {
        let log = logs.entry(entry.room).or_default();
        if log.insert(entry.seq.0, entry).is_some() {
            faults.push(format!("{} has seq {} twice", entry.room, entry.seq));
        }
    }
    for (room, log) in &logs {
        if log.keys().copied().ne(1..=log.len() as u64) {
            faults.push(format!("the journal of {room} has gaps"));
        }
    }
    judge_operations(evidence, kept, &mut faults);
    let none = Log::new();
    let mut all_passed = Passed::default();
    for reading in &evidence.readings {
        let log = reading.room.and_then(|room| logs.get(&room));
        let log = log.unwrap_or(&none);
        let passed = passed(reading, log);
        all_passed.superseded += passed.superseded;
        all_passed.early += passed.early;
        all_passed.gaps += passed.gaps;
        judge_reading(reading, passed.gaps, log, &mut faults);
    }
    for unanswered in &evidence.unanswered_at_kill {
        if *unanswered < UNANSWERED_MIN {
            faults.push(format!("a kill hit only {unanswered} unanswered writes"));
        }
    }
    print(evidence, kept, all_passed);
    if faults.is_empty() {
        return Ok(());
    }
    let shown: Vec<_> = faults.iter().take(20).map(String::as_str).collect();
    bail!("{} faults:\n{}", faults.len(), shown.join("\n"))
}

fn judge_operations(evidence: &Evidence, kept: &[Kept], faults: &mut Vec<String>) {
    let mut times: HashMap<&str, u32> = HashMap::new();
    for operation in kept.iter().filter_map(|entry| entry.op_id.as_deref()) {
        *times.entry(operation).or_default() += 1;
    }
    for (operation, outcome) in evidence.ledger.operations().iter() {
        let times = times.get(operation.as_str()).copied().unwrap_or(0);
        match outcome {
            Outcome::Acknowledged if times == 0 => {
                faults.push(format!("acknowledged and lost: {operation}"));
            }
            Outcome::Refused(code) if times > 0 => {
                faults.push(format!("refused ({code}) and in the journal: {operation}"));
            }
            Outcome::Unexpected(what) => faults.push(format!("{operation} was answered {what}")),
            Outcome::Unanswered => faults.push(format!("never answered: {operation}")),
            _ if times > 1 => faults.push(format!("{times} times in the journal: {operation}")),
            _ => {}
        }
    }
}

fn judge_reading(reading: &Reading, gaps: u64, log: &Log<'_>, faults: &mut Vec<String>) {
    let mut fault = |what: String| {
        let room = reading
            .room
            .map(|room| room.to_string())
            .unwrap_or_default();
        faults.push(format!("{} in {room}: {what}", reading.reader));
    };
    for (what, count) in [
        ("gaps while live", gaps),
        ("inversions", reading.inversions),
        ("resets", reading.resets),
    ] {
        if count > 0 {
            fault(format!("{count} {what}"));
        }
    }
    let newest = newest(log);
    for (seq, entry) in log.iter().filter(|(seq, _)| !reading.seen.contains(seq)) {
        // An entry that a feed left out must have been superseded by one that the reader has.
        let superseded = reading
            .items
            .get(&entry.item)
            .is_some_and(|(at, ..)| at.0 > *seq);
        if !superseded {
            fault(format!("seq {seq} is missing and nothing supersedes it"));
        }
    }
    if reading.items != newest {
        let differs = newest
            .iter()
            .filter(|(item, state)| reading.items.get(item) != Some(state));
        fault(format!("{} items differ from the journal", differs.count()));
    }
}

/// The entries that the live frames of a reader left out.
#[derive(Clone, Copy, Default)]
struct Passed {
    /// Superseded by an entry up to the end of the frame: such an entry is sent to no reader.
    superseded: u64,
    /// Superseded by an entry that the reader received a frame later: an instance that catches up knows that an entry
    /// is superseded before it has read the superseding one.
    early: u64,
    /// Superseded by no entry.
    gaps: u64,
}

fn passed(reading: &Reading, log: &Log<'_>) -> Passed {
    let mut entries_of: HashMap<ItemId, Vec<u64>> = HashMap::new();
    for (seq, entry) in log {
        entries_of.entry(entry.item).or_default().push(*seq);
    }
    let mut passed = Passed::default();
    for (seq, end) in &reading.passed {
        let entries = log.get(seq).and_then(|entry| entries_of.get(&entry.item));
        let next = entries.and_then(|entries| entries.iter().find(|other| *other > seq));
        match next {
            Some(next) if next <= end => passed.superseded += 1,
            Some(_) => passed.early += 1,
            None => passed.gaps += 1,
        }
    }
    passed
}

fn newest(log: &Log<'_>) -> HashMap<ItemId, (Seq, Op, String)> {
    log.values()
        .map(|entry| {
            (
                entry.item,
                (entry.seq, entry.op.clone(), canonical(&entry.body)),
            )
        })
        .collect()
}

fn print(evidence: &Evidence, kept: &[Kept], passed: Passed) {
    let operations = evidence.ledger.operations();
    let count = |wanted: fn(&Outcome) -> bool| operations.values().filter(|is| wanted(is)).count();
    let sum = |figure: fn(&Reading) -> u64| evidence.readings.iter().map(figure).sum::<u64>();
    println!(
        "sent {}  acknowledged {}  refused {}  retries {}  in the journal {}  delivered {}  \
         stepped over while live {} superseded, {} early  gaps {}  \
         inversions {}  duplicates {}  resets {}  unanswered at each kill {:?}  in {:.1} s",
        operations.len(),
        count(|is| *is == Outcome::Acknowledged),
        count(|is| matches!(is, Outcome::Refused(_))),
        evidence.ledger.retries.load(SeqCst),
        kept.len(),
        sum(|reading| reading.delivered),
        passed.superseded,
        passed.early,
        passed.gaps,
        sum(|reading| reading.inversions),
        sum(|reading| reading.duplicates),
        sum(|reading| reading.resets),
        evidence.unanswered_at_kill,
        evidence.elapsed.as_secs_f64(),
    );
}
