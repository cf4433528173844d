//! Presence in memory, for one instance.

use super::{Departure, MOVING_MAX, People, Presence, PresenceChanges, Record};
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{RoomId, UserId};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Rooms that are kept before the first sweep of unused ones.
const SWEEP_MIN_ROOMS: usize = 64;

/// [`Presence`] has its promises.
#[derive(Default)]
pub struct LocalPresence {
    rooms: Arc<Mutex<Rooms>>,
    /// A timer for each lost connection whose person may come back.
    timers: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Rooms {
    people: HashMap<RoomId, People>,
    /// How many rooms are kept before the next sweep.
    sweep_at: usize,
}

impl Rooms {
    /// Removes unused rooms. The threshold doubles with the rooms that stay, so that a sweep costs little for each
    /// room.
    fn sweep(&mut self) {
        if self.people.len() >= self.sweep_at.max(SWEEP_MIN_ROOMS) {
            let is_needed = |people: &People| !people.is_empty() || !people.is_idle();
            self.people.retain(|_, people| is_needed(people));
            self.sweep_at = self.people.len() * 2;
        }
    }

    fn room(&mut self, room: RoomId) -> &mut People {
        self.sweep();
        let people = self.people.entry(room);
        people.or_insert_with(|| People::new(room))
    }
}

impl LocalPresence {
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock()
    }

    fn expire_later(&self, room: RoomId) {
        let (rooms, due) = (Arc::clone(&self.rooms), Instant::now() + MOVING_MAX);
        let mut timers = self.timers.lock();
        while timers.try_join_next().is_some() {}
        timers.spawn(async move {
            sleep_until(due).await;
            if let Some(people) = rooms.lock().people.get_mut(&room) {
                people.expire(due);
            }
        });
    }
}

#[async_trait]
impl Presence for LocalPresence {
    fn listen(&self, room: RoomId) -> PresenceChanges {
        self.rooms().room(room).listen()
    }

    async fn read(&self, room: RoomId) -> Vec<roost_schema::Presence> {
        let rooms = self.rooms();
        let people = rooms.people.get(&room);
        people.map(People::present).unwrap_or_default()
    }

    fn arrive(&self, room: RoomId, user: UserId) {
        self.rooms().room(room).arrive(user);
    }

    fn depart(&self, room: RoomId, user: UserId, departure: Departure) {
        let is_last = self.rooms().room(room).depart(user, departure);
        if is_last && departure == Departure::Lost {
            self.expire_later(room);
        }
    }

    fn is_here(&self, room: RoomId, user: UserId) -> bool {
        let rooms = self.rooms();
        let people = rooms.people.get(&room);
        people.is_some_and(|people| people.is_here(user))
    }

    fn apply_remote(&self, _record: Record) {}

    fn invalidate(&self, _is_affected: &dyn Fn(RoomId) -> bool) {}
}
