//! This instance's replica of a room's people in Redis, and the revision up to which it is complete.

use crate::live::presence::{People, Record};
use roost_schema::{InstanceId, RoomId, UserId};
use std::collections::{BTreeMap, HashSet};

/// Revisions beyond a gap that are kept; the room is read again long before there are more.
const AHEAD_MAX: usize = 1_024;

pub(super) struct PeopleReplica {
    pub(super) people: People,
    /// Whether these people were read before the replica was synced with Redis.
    pub(super) is_shown: bool,
    synced: Option<Synced>,
    /// The people of records beyond a gap, by revision.
    ahead: BTreeMap<u64, UserId>,
}

/// The replica has every change up to this revision.
struct Synced {
    generation: String,
    revision: u64,
}

impl PeopleReplica {
    pub(super) fn new(room: RoomId) -> Self {
        Self {
            people: People::new(room),
            is_shown: false,
            synced: None,
            ahead: BTreeMap::new(),
        }
    }

    /// Whether a snapshot of the whole room was applied.
    pub(super) const fn is_synced(&self) -> bool {
        self.synced.is_some()
    }

    pub(super) fn revision(&self) -> Option<u64> {
        self.synced.as_ref().map(|synced| synced.revision)
    }

    /// Makes the replica apply the next snapshot, of any revision, and announce what that changes.
    pub(super) fn invalidate(&mut self) {
        self.is_shown |= self.synced.take().is_some();
        self.ahead.clear();
    }

    pub(super) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Tracks the revision of a record; returns whether it is the newest of its person. A record holds the whole state
    /// of a person, so it is applied without waiting for the records of a gap.
    pub(super) fn track(&mut self, record: &Record) -> bool {
        match &self.synced {
            Some(synced) if synced.generation != record.generation => return false,
            Some(synced) if record.revision <= synced.revision => return false,
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

    /// The newest revision of a person beyond the gap.
    pub(super) fn newest_ahead(&self, user: UserId) -> Option<u64> {
        let mut newest_first = self.ahead.iter().rev();
        let (revision, _) = newest_first.find(|(_, changed)| **changed == user)?;
        Some(*revision)
    }

    fn close_up(&mut self) {
        let Some(synced) = &mut self.synced else {
            return;
        };
        while self.ahead.remove(&(synced.revision + 1)).is_some() {
            synced.revision += 1;
        }
    }

    /// Forgets the revisions beyond a gap: those of another generation do not follow this one's.
    pub(super) fn clear_ahead(&mut self) {
        self.ahead.clear();
    }

    /// Sets the revision of a snapshot; returns the people of whom newer records were applied. `None`: the replica is
    /// newer than the snapshot.
    pub(super) fn reset(&mut self, generation: &str, revision: u64) -> Option<HashSet<UserId>> {
        let is_older =
            |synced: &Synced| synced.generation == generation && synced.revision > revision;
        if self.synced.as_ref().is_some_and(is_older) {
            return None;
        }
        let is_same = |synced: &Synced| synced.generation == generation;
        if self.synced.as_ref().is_none_or(is_same) {
            self.ahead.retain(|later, _| *later > revision);
        } else {
            self.ahead.clear();
        }
        let newer = self.ahead.values().copied().collect();
        self.synced = Some(Synced {
            generation: generation.to_owned(),
            revision,
        });
        self.close_up();
        Some(newer)
    }

    /// The other instances to which a person is connected by this record, and whether the person is moving; `None`
    /// leaves that as it is.
    pub(super) fn merged(
        &self,
        me: InstanceId,
        record: Record,
        merge: Merge,
    ) -> (Vec<InstanceId>, Option<bool>) {
        let is_nowhere = record.instances.is_empty() && !record.is_moving;
        let mut elsewhere = record.instances;
        elsewhere.retain(|instance| *instance != me);
        if matches!(merge, Merge::KeepConnections | Merge::KeepAll) {
            for instance in self.people.elsewhere(record.user) {
                if !elsewhere.contains(instance) {
                    elsewhere.push(*instance);
                }
            }
        }
        let keeps_moving = match merge {
            Merge::Replace => false,
            Merge::KeepMoving | Merge::KeepAll => true,
            Merge::KeepConnections => is_nowhere,
        };
        (elsewhere, (!keeps_moving).then_some(record.is_moving))
    }
}

/// How a record of Redis is merged with what this instance knows of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// The record is the newest: it replaces connections to other instances, and whether the person is moving.
    Replace,
    /// This instance has yet to declare a newer change of the person: the record replaces only connections to other
    /// instances.
    KeepMoving,
    /// Redis was emptied a moment ago, and other instances may still have to declare their people: known connections to
    /// them stay. A person whom Redis does not hold stays as they were.
    KeepConnections,
    /// Both of the former: known connections stay, and whether the person is moving.
    KeepAll,
}

impl Merge {
    /// `is_pending`: this instance has yet to declare a change of the person. `is_refilling`: Redis was emptied a
    /// moment ago.
    pub(super) const fn of(is_pending: bool, is_refilling: bool) -> Self {
        match (is_pending, is_refilling) {
            (false, false) => Self::Replace,
            (true, false) => Self::KeepMoving,
            (false, true) => Self::KeepConnections,
            (true, true) => Self::KeepAll,
        }
    }
}
