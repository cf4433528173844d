//! Reads the answer of `presence.lua`: a list of texts, one for each line.

use crate::live::presence::Record;
use fred::error::{Error, ErrorKind};
use roost_schema::{InstanceId, RoomId, UserId};
use std::str::FromStr;

/// The record of a moving person, whose last connection was lost.
const MOVING: &str = "moving";

/// The answer to one call of the script.
#[derive(Default)]
pub(super) struct ScriptAnswer {
    pub(super) generation: String,
    /// Changes that were made, in order.
    pub(super) records: Vec<Record>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) revisions: Vec<(RoomId, u64)>,
    /// The people whom Redis holds as connected to the calling instance.
    pub(super) own: Vec<(RoomId, UserId)>,
    /// Instances whose lease has ended.
    pub(super) expired: Vec<InstanceId>,
    /// Whether the lease of the calling instance had ended.
    pub(super) has_lapsed: bool,
    /// Whether the call did a part only, and has to be repeated.
    pub(super) has_more: bool,
}

/// A whole room at a revision.
pub(super) struct Snapshot {
    pub(super) room: RoomId,
    pub(super) generation: String,
    pub(super) revision: u64,
    pub(super) people: Vec<Record>,
}

impl Snapshot {
    /// The record of a person whom the room does not hold.
    pub(super) fn nowhere(&self, user: UserId) -> Record {
        Record {
            room: self.room,
            generation: self.generation.clone(),
            revision: self.revision,
            user,
            instances: Vec::new(),
            is_moving: false,
        }
    }
}

impl ScriptAnswer {
    pub(super) fn read(lines: Vec<String>) -> Result<Self, Error> {
        let mut lines = lines.into_iter();
        let mut answer = Self {
            generation: lines.next().unwrap_or_default(),
            ..Self::default()
        };
        for line in lines {
            let is_read = answer.take(&line);
            is_read.ok_or_else(|| Error::new(ErrorKind::Parse, line))?;
        }
        Ok(answer)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "record" => {
                let (room, user) = (parsed(words.next())?, parsed(words.next())?);
                let revision = parsed(words.next())?;
                let record = self.record(room, user, revision, words.next()?)?;
                self.records.push(record);
            }
            "room" => self.snapshots.push(Snapshot {
                room: parsed(words.next())?,
                generation: self.generation.clone(),
                revision: parsed(words.next())?,
                people: Vec::new(),
            }),
            "person" => {
                let (room, user) = (parsed(words.next())?, parsed(words.next())?);
                let revision = self.snapshots.last()?.revision;
                let record = self.record(room, user, revision, words.next()?)?;
                self.snapshots.last_mut()?.people.push(record);
            }
            "revision" => {
                let room = parsed(words.next())?;
                self.revisions.push((room, parsed(words.next())?));
            }
            "own" => {
                let room = parsed(words.next())?;
                self.own.push((room, parsed(words.next())?));
            }
            "expired" => self.expired.push(parsed(words.next())?),
            "lapsed" => self.has_lapsed = true,
            "more" => self.has_more = true,
            _ => return None,
        }
        Some(())
    }

    fn record(&self, room: RoomId, user: UserId, revision: u64, text: &str) -> Option<Record> {
        let is_moving = text == MOVING;
        let instances = match text {
            "" | MOVING => Vec::new(),
            named => named
                .split(',')
                .map(|instance| instance.parse().ok())
                .collect::<Option<_>>()?,
        };
        Some(Record {
            room,
            generation: self.generation.clone(),
            revision,
            user,
            instances,
            is_moving,
        })
    }
}

fn parsed<T: FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

#[cfg(test)]
mod tests;
