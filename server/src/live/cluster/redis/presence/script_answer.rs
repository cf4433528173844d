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
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_script_is_read() {
        let (room, user, instance) = (
            RoomId::generate(),
            UserId::generate(),
            InstanceId::generate(),
        );
        let lines = [
            "5.1".to_owned(),
            "lapsed".to_owned(),
            format!("record {room} {user} 8 {instance},{instance}"),
            format!("record {room} {user} 9 moving"),
            format!("record {room} {user} 10 "),
            format!("expired {instance}"),
            format!("room {room} 10"),
            format!("person {room} {user} {instance}"),
        ];
        let answer = ScriptAnswer::read(lines.into()).unwrap();
        assert!(answer.has_lapsed && !answer.has_more);
        assert_eq!(answer.expired, [instance]);
        let [both, moving, gone] = answer.records.as_slice() else {
            panic!("three records");
        };
        assert_eq!(both.instances, [instance, instance]);
        assert!(moving.is_moving && moving.instances.is_empty());
        assert!(!gone.is_moving && gone.instances.is_empty());
        assert_eq!((gone.revision, gone.generation.as_str()), (10, "5.1"));
        assert_eq!(answer.snapshots[0].people[0].user, user);
    }

    #[test]
    fn anything_else_is_an_error() {
        for line in ["nonsense", "record a b c d", "room"] {
            assert!(
                ScriptAnswer::read(vec!["5.1".into(), line.into()]).is_err(),
                "{line}"
            );
        }
    }
}
