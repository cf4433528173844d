//! The people of one room as this instance knows them; it announces their changes to its listeners.

use super::{Departure, EPHEMERAL_CAPACITY, MOVING_MAX, PresenceChanges};
use chrono::Utc;
use roost_schema::{InstanceId, Presence, PresenceChanged, PresenceState, RoomId, UserId};
use std::{collections::HashMap, sync::Arc};
use tokio::{sync::broadcast, time::Instant};

pub(in crate::live) struct People {
    room: RoomId,
    version: u64,
    by_id: HashMap<UserId, Person>,
    sender: broadcast::Sender<Arc<PresenceChanged>>,
    /// Changes are not announced while this is set.
    is_silent: bool,
}

#[derive(Default)]
struct Person {
    /// Connections to this instance.
    connections: usize,
    /// The other instances to which the person is connected, as far as it is known.
    elsewhere: Vec<InstanceId>,
    moving_until: Option<Instant>,
}

impl Person {
    const fn state(&self) -> PresenceState {
        if self.connections > 0 || !self.elsewhere.is_empty() {
            PresenceState::Here
        } else if self.moving_until.is_some() {
            PresenceState::Moving
        } else {
            PresenceState::Gone
        }
    }
}

impl People {
    pub(in crate::live) fn new(room: RoomId) -> Self {
        Self {
            room,
            // Begins with the clock, so that it also rises when the room was removed and made again.
            version: Utc::now().timestamp_millis().unsigned_abs(),
            by_id: HashMap::new(),
            sender: broadcast::Sender::new(EPHEMERAL_CAPACITY),
            is_silent: false,
        }
    }

    pub(in crate::live) fn listen(&self) -> PresenceChanges {
        self.sender.subscribe()
    }

    /// Whether the room has no connection to this instance, and no listener.
    pub(in crate::live) fn is_idle(&self) -> bool {
        let is_empty = self.by_id.values().all(|person| person.connections == 0);
        is_empty && self.sender.receiver_count() == 0
    }

    /// Whether the room has no person who is here or moving.
    pub(in crate::live) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(in crate::live) fn is_here(&self, user: UserId) -> bool {
        let person = self.by_id.get(&user);
        person.is_some_and(|person| person.connections > 0)
    }

    /// The people who are connected to this instance.
    pub(in crate::live) fn connected(&self) -> impl Iterator<Item = UserId> {
        let connected =
            |(user, person): (&UserId, &Person)| (person.connections > 0).then_some(*user);
        self.by_id.iter().filter_map(connected)
    }

    /// All people of the room, of every instance.
    pub(in crate::live) fn known(&self) -> Vec<UserId> {
        self.by_id.keys().copied().collect()
    }

    /// The people who are here or moving, by id.
    pub(in crate::live) fn present(&self) -> Vec<Presence> {
        let mut present: Vec<_> = self
            .by_id
            .iter()
            .map(|(user_id, person)| Presence {
                user_id: *user_id,
                state: person.state(),
            })
            .collect();
        present.sort_by_key(|presence| presence.user_id);
        present
    }

    /// Counts one more connection; whether it is the person's first to this instance.
    pub(in crate::live) fn arrive(&mut self, user: UserId) -> bool {
        self.change(user, |person| {
            person.connections += 1;
            person.moving_until = None;
            person.connections == 1
        })
    }

    /// Counts one connection less; whether it was the person's last to this instance.
    pub(in crate::live) fn depart(&mut self, user: UserId, departure: Departure) -> bool {
        self.change(user, |person| {
            person.connections = person.connections.saturating_sub(1);
            let is_last = person.connections == 0;
            if is_last && departure == Departure::Lost && person.elsewhere.is_empty() {
                person.moving_until = Some(Instant::now() + MOVING_MAX);
            }
            is_last
        })
    }

    /// Removes the people whose time to come back is over at `now`.
    pub(in crate::live) fn expire(&mut self, now: Instant) {
        let is_due = |(user, person): (&UserId, &Person)| {
            let is_due = person.moving_until.is_some_and(|until| until <= now);
            is_due.then_some(*user)
        };
        let due: Vec<_> = self.by_id.iter().filter_map(is_due).collect();
        for user in due {
            self.change(user, |person| person.moving_until = None);
        }
    }

    /// Sets the other instances to which a person is connected. `is_moving`: `None` leaves it as it is.
    pub(in crate::live) fn apply(
        &mut self,
        user: UserId,
        elsewhere: Vec<InstanceId>,
        is_moving: Option<bool>,
    ) {
        self.change(user, |person| {
            person.elsewhere = elsewhere;
            match is_moving {
                Some(true) => {
                    let until = Instant::now() + MOVING_MAX;
                    person.moving_until.get_or_insert(until);
                }
                Some(false) => person.moving_until = None,
                None => {}
            }
        });
    }

    /// Removes all connections to other instances.
    pub(in crate::live) fn clear_elsewhere(&mut self) {
        for user in self.known() {
            self.change(user, |person| person.elsewhere.clear());
        }
    }

    /// The other instances to which a person is connected.
    pub(in crate::live) fn elsewhere(&self, user: UserId) -> &[InstanceId] {
        let person = self.by_id.get(&user);
        person.map_or(&[], |person| person.elsewhere.as_slice())
    }

    /// Makes changes without announcing them.
    pub(in crate::live) fn silently(&mut self, change: impl FnOnce(&mut Self)) {
        self.is_silent = true;
        change(self);
        self.is_silent = false;
    }

    fn change<T>(&mut self, user: UserId, change: impl FnOnce(&mut Person) -> T) -> T {
        let person = self.by_id.entry(user).or_default();
        let before = person.state();
        let answer = change(person);
        let after = person.state();
        if after == PresenceState::Gone {
            self.by_id.remove(&user);
        }
        if before != after && !self.is_silent {
            self.announce(user, after);
        }
        answer
    }

    fn announce(&mut self, user_id: UserId, state: PresenceState) {
        self.version += 1;
        let changed = PresenceChanged {
            room: self.room,
            version: self.version,
            presence: Presence { user_id, state },
        };
        // An error means that the room has no listener.
        let _ = self.sender.send(Arc::new(changed));
    }
}
