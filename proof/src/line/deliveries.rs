//! The source of each entry on each instance, from the lines of the log target `roost::deliveries`.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use roost_schema::RoomId;
use serde::Deserialize;
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

const TARGET: &str = "roost::deliveries";
const LINE_BEGIN: &str = "{\"timestamp\"";
/// An instance's own writes.
pub(super) const LOCAL: &str = "local";
pub(super) const BACKPLANE: &str = "backplane";
/// Read again from the journal for one slow reader; the instance already had the entry from another source.
pub(super) const FEED: &str = "feed";
/// Every source, in the order of the printed table.
pub(super) const WAYS: [&str; 6] = [LOCAL, BACKPLANE, "race", "repair", "sweep", FEED];

/// Entries of a room that one instance received at one moment.
pub(super) struct Delivered {
    pub(super) at: DateTime<Utc>,
    /// Counted from 0.
    pub(super) instance: usize,
    pub(super) way: String,
    pub(super) room: RoomId,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u64,
}

#[derive(Deserialize)]
struct Line {
    timestamp: DateTime<Utc>,
    path: String,
    #[serde(rename = "room.id")]
    room: RoomId,
    first: u64,
    last: u64,
    count: u64,
}

/// Reads the logs of the instances, in their order.
pub(super) fn read(logs: &[PathBuf]) -> Result<Vec<Delivered>> {
    let mut all = Vec::new();
    for (instance, log) in logs.iter().enumerate() {
        let file = File::open(log).with_context(|| format!("no log {}", log.display()))?;
        for text in BufReader::new(file).lines() {
            let text = text?;
            if !text.contains(TARGET) {
                continue;
            }
            // A kill cuts the last line, and the next line follows on it without a line break.
            let begin = text.rfind(LINE_BEGIN).unwrap_or_default();
            let line: Line = serde_json::from_str(&text[begin..])
                .with_context(|| format!("a line of {}: {text}", log.display()))?;
            all.push(Delivered {
                at: line.timestamp,
                instance,
                way: line.path,
                room: line.room,
                first: line.first,
                last: line.last,
                count: line.count,
            });
        }
    }
    Ok(all)
}

/// Whether an instance has committed an entry, according to its log.
pub(super) fn has_committed(log: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(log)?;
    let is_commit = |line: &str| line.contains(TARGET) && line.contains("\"path\":\"local\"");
    Ok(text.lines().any(is_commit))
}
