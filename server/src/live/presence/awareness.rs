//! What needs no memory: cursors and typing, merged per person and told once per tick.

use super::EPHEMERA_CAPACITY;
use crate::live::{
    LiveRoom,
    backplane::{Bucket, Channel},
    message::Message,
};
use parking_lot::{Mutex, MutexGuard};
use roost_schema::{Awareness, Cursor, PersonAwareness, UserId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::broadcast, time::sleep};

/// How often cursors and typing are told: at most once per tick, merged per person.
const AWARENESS_TICK: Duration = Duration::from_millis(40);

/// What the next tick tells of a room.
pub(in crate::live) struct AwarenessBoard {
    pending: Mutex<Pending>,
    told: broadcast::Sender<Arc<Awareness>>,
}

/// A tick is on its way whenever one of them is not empty.
#[derive(Default)]
struct Pending {
    /// Said on this instance; told here and to the others.
    own: BTreeMap<UserId, PersonAwareness>,
    /// Said on others; told here.
    heard: BTreeMap<UserId, PersonAwareness>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.heard.is_empty()
    }
}

impl Default for AwarenessBoard {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            told: broadcast::Sender::new(EPHEMERA_CAPACITY),
        }
    }
}

impl AwarenessBoard {
    pub(in crate::live) fn listen(&self) -> broadcast::Receiver<Arc<Awareness>> {
        self.told.subscribe()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }
}

impl LiveRoom {
    /// Shows a person's cursor; `false` when the person is not here.
    pub fn show_cursor(self: &Arc<Self>, user: UserId, cursor: Cursor) -> bool {
        let mut shown = nothing_of(user);
        shown.cursor = Some(cursor);
        self.show(shown)
    }

    /// Shows that a person is typing; `false` when the person is not here.
    pub fn show_typing(self: &Arc<Self>, user: UserId) -> bool {
        let mut shown = nothing_of(user);
        shown.typing = true;
        self.show(shown)
    }

    fn show(self: &Arc<Self>, shown: PersonAwareness) -> bool {
        let is_here = self.instance.presence.is_here(self.id(), shown.user_id);
        if is_here {
            self.merge(|pending| &mut pending.own, [shown]);
        }
        is_here
    }

    /// Takes what another instance told of.
    pub(in crate::live) fn hear_awareness(self: &Arc<Self>, people: Vec<PersonAwareness>) {
        self.merge(|pending| &mut pending.heard, people);
    }

    fn merge(
        self: &Arc<Self>,
        part: impl FnOnce(&mut Pending) -> &mut BTreeMap<UserId, PersonAwareness>,
        people: impl IntoIterator<Item = PersonAwareness>,
    ) {
        let mut pending = self.awareness.pending();
        let is_first = pending.is_empty();
        merge_into(part(&mut pending), people);
        if is_first && !pending.is_empty() {
            let room = Arc::clone(self);
            self.instance.tasks.spawn(async move {
                sleep(AWARENESS_TICK).await;
                room.tell_awareness();
            });
        }
    }

    fn tell_awareness(&self) {
        let Pending { own, heard } = std::mem::take(&mut *self.awareness.pending());
        let awareness = |people: BTreeMap<UserId, PersonAwareness>| Awareness {
            room: self.id(),
            people: people.into_values().collect(),
        };
        if let Some(backplane) = &self.instance.backplane
            && !own.is_empty()
        {
            let channel = Channel::Bucket(Bucket::of(self.id()));
            Message::Awareness(awareness(own.clone())).send(backplane.as_ref(), channel);
        }
        let mut all = heard;
        merge_into(&mut all, own.into_values());
        // An error only means that nobody is listening.
        let _ = self.awareness.told.send(Arc::new(awareness(all)));
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
