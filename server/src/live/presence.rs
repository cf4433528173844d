//! Who is in a room now, and what needs no memory: cursors and typing. In process, for one instance.
//!
//! A person is here while one of their connections is. When the last one is lost they are moving,
//! and gone after 10 s unless one comes back; when it leaves on purpose they are gone at once.

use super::LiveRoom;
use chrono::Utc;
use roost_schema::{
    Awareness, Cursor, PersonAwareness, Presence, PresenceChanged, PresenceState, RoomId, UserId,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};

/// How long a person whose connection was lost may take to come back.
const MOVING_MAX: Duration = Duration::from_secs(10);
/// How often cursors and typing are told: at most once per tick, merged per person.
const AWARENESS_TICK: Duration = Duration::from_millis(40);
/// Ephemera a connection may be behind before it misses some.
const EPHEMERA_CAPACITY: usize = 64;

/// Something that is told once and kept nowhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Ephemeral {
    Presence(PresenceChanged),
    Awareness(Awareness),
}

/// What a connection hears of a room besides its changes.
pub struct Ephemera(broadcast::Receiver<Arc<Ephemeral>>);

impl Ephemera {
    /// The next thing to tell. Whoever is too slow misses some; a gap in the presence version shows.
    /// Safe to cancel.
    pub async fn next(&mut self) -> Arc<Ephemeral> {
        loop {
            match self.0.recv().await {
                Ok(ephemeral) => return ephemeral,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

/// Keeps a person present in a room through one connection. Dropped: the connection is lost.
pub struct Here {
    room: Arc<LiveRoom>,
    user: UserId,
    is_on_purpose: bool,
}

impl Here {
    /// Leaves on purpose: gone at once, not moving.
    pub fn leave(mut self) {
        self.is_on_purpose = true;
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.room.depart(self.user, self.is_on_purpose);
    }
}

/// The people of one room, and what is told of them.
pub(super) struct PresenceBoard {
    room: RoomId,
    people: Mutex<People>,
    told: broadcast::Sender<Arc<Ephemeral>>,
}

struct People {
    version: u64,
    by_id: HashMap<UserId, Person>,
    /// What the next tick tells; a tick is on its way whenever this is not empty.
    awareness: BTreeMap<UserId, PersonAwareness>,
}

#[derive(Default)]
struct Person {
    connections: usize,
    /// Counts arrivals, so that a departure's timer knows whether the person came back meanwhile.
    arrivals: u64,
}

impl Person {
    const fn state(&self) -> PresenceState {
        match self.connections {
            0 => PresenceState::Moving,
            _ => PresenceState::Here,
        }
    }
}

impl PresenceBoard {
    pub(super) fn new(room: RoomId) -> Self {
        let people = People {
            // Begins with the clock, so that it also rises when the room was forgotten in between.
            version: Utc::now().timestamp_millis().unsigned_abs(),
            by_id: HashMap::new(),
            awareness: BTreeMap::new(),
        };
        Self {
            room,
            people: Mutex::new(people),
            told: broadcast::Sender::new(EPHEMERA_CAPACITY),
        }
    }

    fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_presence(&self, people: &mut People, user_id: UserId, state: PresenceState) {
        people.version += 1;
        self.tell(Ephemeral::Presence(PresenceChanged {
            room: self.room,
            version: people.version,
            presence: Presence { user_id, state },
        }));
    }

    fn tell(&self, ephemeral: Ephemeral) {
        // An error only means that nobody is listening.
        let _ = self.told.send(Arc::new(ephemeral));
    }
}

impl LiveRoom {
    /// Makes a person present through one more connection; what is told of the room from now on.
    pub fn arrive(self: Arc<Self>, user: UserId) -> (Here, Ephemera) {
        let ephemera = Ephemera(self.presence.told.subscribe());
        {
            let mut people = self.presence.people();
            let person = people.by_id.entry(user).or_default();
            person.connections += 1;
            person.arrivals += 1;
            if person.connections == 1 {
                self.presence
                    .tell_presence(&mut people, user, PresenceState::Here);
            }
        }
        let here = Here {
            room: self,
            user,
            is_on_purpose: false,
        };
        (here, ephemera)
    }

    /// Who is here or moving, by id.
    pub fn present(&self) -> Vec<Presence> {
        let people = self.presence.people();
        let mut present: Vec<_> = people
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

    /// Shows a person's cursor; `false` when the person is not here.
    pub fn show_cursor(self: &Arc<Self>, user: UserId, cursor: Cursor) -> bool {
        self.show(user, |awareness| awareness.cursor = Some(cursor))
    }

    /// Shows that a person is typing; `false` when the person is not here.
    pub fn show_typing(self: &Arc<Self>, user: UserId) -> bool {
        self.show(user, |awareness| awareness.typing = true)
    }

    fn show(self: &Arc<Self>, user: UserId, change: impl FnOnce(&mut PersonAwareness)) -> bool {
        let mut people = self.presence.people();
        if !people.by_id.contains_key(&user) {
            return false;
        }
        let is_first = people.awareness.is_empty();
        change(people.awareness.entry(user).or_insert(PersonAwareness {
            user_id: user,
            cursor: None,
            typing: false,
        }));
        if is_first {
            let room = Arc::clone(self);
            self.instance.tasks.spawn(async move {
                sleep(AWARENESS_TICK).await;
                let people = std::mem::take(&mut room.presence.people().awareness);
                room.presence.tell(Ephemeral::Awareness(Awareness {
                    room: room.id(),
                    people: people.into_values().collect(),
                }));
            });
        }
        true
    }

    fn depart(self: &Arc<Self>, user: UserId, is_on_purpose: bool) {
        let mut people = self.presence.people();
        let Some(person) = people.by_id.get_mut(&user) else {
            return;
        };
        person.connections -= 1;
        let arrivals = person.arrivals;
        if person.connections > 0 {
            return;
        }
        if is_on_purpose {
            people.by_id.remove(&user);
            self.presence
                .tell_presence(&mut people, user, PresenceState::Gone);
            return;
        }
        self.presence
            .tell_presence(&mut people, user, PresenceState::Moving);
        let room = Arc::clone(self);
        self.instance.tasks.spawn(async move {
            let cancel = room.instance.cancel.clone();
            if cancel
                .run_until_cancelled(sleep(MOVING_MAX))
                .await
                .is_some()
            {
                room.give_up(user, arrivals);
            }
        });
    }

    /// Ends a departure that nobody came back from.
    fn give_up(&self, user: UserId, arrivals: u64) {
        let mut people = self.presence.people();
        let is_away = |person: &Person| person.connections == 0 && person.arrivals == arrivals;
        if people.by_id.get(&user).is_some_and(is_away) {
            people.by_id.remove(&user);
            self.presence
                .tell_presence(&mut people, user, PresenceState::Gone);
        }
    }
}
