//! A room's people as Redis last told of them, and how far that goes.

use crate::live::presence::{People, Record};
use roost_schema::{InstanceId, RoomId, UserId};
use std::collections::{BTreeMap, HashSet};

/// Changes beyond a gap that are remembered; the room is read again long before there are more.
const AHEAD_MAX: usize = 1_024;

pub(super) struct Replica {
    pub(super) people: People,
    /// Somebody was shown these people before Redis told of them.
    pub(super) is_shown: bool,
    known: Option<Known>,
    /// Whose changes came before those they follow, by revision.
    ahead: BTreeMap<u64, UserId>,
}

struct Known {
    generation: String,
    revision: u64,
}

impl Replica {
    pub(super) fn new(room: RoomId) -> Self {
        Self {
            people: People::new(room),
            is_shown: false,
            known: None,
            ahead: BTreeMap::new(),
        }
    }

    /// Whether Redis has told of the whole room.
    pub(super) const fn is_known(&self) -> bool {
        self.known.is_some()
    }

    pub(super) fn revision(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.revision)
    }

    /// Whatever Redis says next of the whole room is taken, and told as far as it is news.
    pub(super) fn distrust(&mut self) {
        self.is_shown |= self.known.take().is_some();
        self.ahead.clear();
    }

    pub(super) fn has_hole(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Notes a change; whether it is the newest of its person. Each says the whole of a person, so it
    /// need not wait for those before it; they are only missed.
    pub(super) fn note(&mut self, record: &Record) -> bool {
        match &self.known {
            Some(known) if known.generation != record.generation => return false,
            Some(known) if record.revision <= known.revision => return false,
            Some(_) | None => {}
        }
        let is_newest = self.newest_ahead(record.user) < Some(record.revision);
        if self.ahead.len() == AHEAD_MAX {
            self.ahead.pop_last();
        }
        self.ahead.insert(record.revision, record.user);
        self.close_up();
        is_newest
    }

    /// The newest change of a person beyond what is known without a gap.
    pub(super) fn newest_ahead(&self, user: UserId) -> Option<u64> {
        let mut newest_first = self.ahead.iter().rev();
        let (revision, _) = newest_first.find(|(_, changed)| **changed == user)?;
        Some(*revision)
    }

    fn close_up(&mut self) {
        let Some(known) = &mut self.known else {
            return;
        };
        while self.ahead.remove(&(known.revision + 1)).is_some() {
            known.revision += 1;
        }
    }

    /// Changes of another life of Redis follow nothing in this one.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead.clear();
    }

    /// The whole room is known as of this revision; gives those of whom more is known. `None`: more was
    /// known of all already.
    pub(super) fn reset(&mut self, generation: &str, revision: u64) -> Option<HashSet<UserId>> {
        let is_older = |known: &Known| known.generation == generation && known.revision > revision;
        if self.known.as_ref().is_some_and(is_older) {
            return None;
        }
        let is_same = |known: &Known| known.generation == generation;
        if self.known.as_ref().is_none_or(is_same) {
            self.ahead.retain(|later, _| *later > revision);
        } else {
            self.ahead.clear();
        }
        let newer = self.ahead.values().copied().collect();
        self.known = Some(Known {
            generation: generation.to_owned(),
            revision,
        });
        self.close_up();
        Some(newer)
    }

    /// `is_pending`: this instance has something newer to say of the person. `is_quiet`: nobody is
    /// gone because Redis does not hold them. `is_silent`: it is no news to anybody.
    pub(super) fn learn(
        &mut self,
        me: InstanceId,
        record: Record,
        is_pending: bool,
        is_quiet: bool,
        is_silent: bool,
    ) {
        let user = record.user;
        let is_nowhere = record.instances.is_empty() && !record.is_moving;
        let mut elsewhere = record.instances;
        elsewhere.retain(|instance| *instance != me);
        if is_quiet {
            for instance in self.people.elsewhere(user) {
                if !elsewhere.contains(instance) {
                    elsewhere.push(*instance);
                }
            }
        }
        let is_moving = if is_pending || (is_quiet && is_nowhere) {
            None
        } else {
            Some(record.is_moving)
        };
        if is_silent {
            self.people
                .silently(|people| people.learn(user, elsewhere, is_moving));
        } else {
            self.people.learn(user, elsewhere, is_moving);
        }
    }
}
