//! Awareness: cursors and typing, merged per person and sent once per tick. It is never kept.

use super::EPHEMERAL_CAPACITY;
use crate::live::LiveRoom;
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{Awareness, Cursor, PersonAwareness, UserId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::broadcast, time::sleep};

/// Awareness of a room is sent at most once per tick.
const AWARENESS_TICK: Duration = Duration::from_millis(40);

/// The awareness of a room that the next tick sends.
pub(in crate::live) struct AwarenessBoard {
    pending: Mutex<Pending>,
    sender: broadcast::Sender<Arc<Awareness>>,
}

/// A tick is scheduled while one of them is not empty.
#[derive(Default)]
struct Pending {
    /// From connections to this instance; sent to them and to the other instances.
    own: BTreeMap<UserId, PersonAwareness>,
    /// From other instances; sent to connections to this one.
    remote: BTreeMap<UserId, PersonAwareness>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.remote.is_empty()
    }
}

impl Default for AwarenessBoard {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            sender: broadcast::Sender::new(EPHEMERAL_CAPACITY),
        }
    }
}

impl AwarenessBoard {
    pub(in crate::live) fn listen(&self) -> broadcast::Receiver<Arc<Awareness>> {
        self.sender.subscribe()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }
}

impl LiveRoom {
    /// Shows a person's cursor; `false` when the person is not here.
    pub fn show_cursor(&self, user: UserId, cursor: Cursor) -> bool {
        let mut shown = nothing_of(user);
        shown.cursor = Some(cursor);
        self.show(shown)
    }

    /// Shows that a person is typing; `false` when the person is not here.
    pub fn show_typing(&self, user: UserId) -> bool {
        let mut shown = nothing_of(user);
        shown.typing = true;
        self.show(shown)
    }

    fn show(&self, shown: PersonAwareness) -> bool {
        let is_here = self.instance.presence.is_here(self.id(), shown.user_id);
        if is_here {
            self.merge(|pending| &mut pending.own, [shown]);
        }
        is_here
    }

    /// Merges awareness that another instance announced.
    pub(in crate::live) fn apply_awareness(&self, people: Vec<PersonAwareness>) {
        self.merge(|pending| &mut pending.remote, people);
    }

    fn merge(
        &self,
        part: impl FnOnce(&mut Pending) -> &mut BTreeMap<UserId, PersonAwareness>,
        people: impl IntoIterator<Item = PersonAwareness>,
    ) {
        let mut pending = self.awareness.pending();
        let is_first = pending.is_empty();
        merge_into(part(&mut pending), people);
        if is_first && !pending.is_empty() {
            let room = self.clone();
            self.instance.tasks.spawn(async move {
                sleep(AWARENESS_TICK).await;
                room.send_awareness();
            });
        }
    }

    fn send_awareness(&self) {
        let Pending { own, remote } = std::mem::take(&mut *self.awareness.pending());
        let awareness = |people: BTreeMap<UserId, PersonAwareness>| Awareness {
            room: self.id(),
            people: people.into_values().collect(),
        };
        if !own.is_empty() {
            self.instance.announce_awareness(awareness(own.clone()));
        }
        let mut all = remote;
        merge_into(&mut all, own.into_values());
        // An error means that the room has no listener.
        let _ = self.awareness.sender.send(Arc::new(awareness(all)));
    }
}

fn merge_into(
    all: &mut BTreeMap<UserId, PersonAwareness>,
    people: impl IntoIterator<Item = PersonAwareness>,
) {
    for person in people {
        let merged = all.entry(person.user_id);
        let merged = merged.or_insert_with(|| nothing_of(person.user_id));
        merged.cursor = person.cursor.or(merged.cursor.take());
        merged.typing |= person.typing;
    }
}

const fn nothing_of(user_id: UserId) -> PersonAwareness {
    PersonAwareness {
        user_id,
        cursor: None,
        typing: false,
    }
}
