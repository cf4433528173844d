//! What the peers say: Roost's shapes, filled in the simplest way.

use chrono::Utc;
use parking_lot::Mutex;
use roost_schema::{
    Awareness, Body, Cursor, Epoch, ItemId, JoinedRoom, Kind, Message, MessageState, MoveCursor,
    Op, PersonAwareness, Position, Rest, Role, RoomEvent, RoomEvents, RoomId, Seq, UserId,
};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// A peer has one life: it forgets, or a new database is given to it.
pub const EPOCH: Epoch = Epoch(1);

/// Who connects: `auth.userId`, or somebody new.
pub fn user_of(auth: &Value) -> UserId {
    let named = auth["userId"].as_str().and_then(|id| id.parse().ok());
    named.unwrap_or_else(UserId::generate)
}

/// The answer to `room:join`. A peer keeps no roles and no presence.
pub const fn joined() -> JoinedRoom {
    JoinedRoom {
        position: Position::new(EPOCH, Seq::ZERO),
        role: Role::Editor,
        presence: Vec::new(),
    }
}

/// `room:awareness` of one moved cursor.
pub fn awareness(input: &MoveCursor, user_id: UserId) -> Awareness {
    let cursor = Some(Cursor {
        x: input.x,
        y: input.y,
    });
    Awareness {
        room: input.room,
        people: vec![PersonAwareness {
            user_id,
            cursor,
            typing: false,
        }],
    }
}

/// A new message.
pub fn message(room_id: RoomId, seq: Seq, author_id: UserId, text: String) -> Message {
    Message {
        id: ItemId::generate(),
        room_id,
        seq,
        author_id,
        text,
        created_at: Utc::now(),
        edited_at: None,
    }
}

/// `room:events` of one new message.
pub fn events(message: &Message) -> serde_json::Result<RoomEvents> {
    let state = MessageState {
        author_id: message.author_id,
        created_at: message.created_at,
        text: message.text.clone(),
        edited_at: None,
        rest: Rest::default(),
    };
    let event = RoomEvent {
        seq: message.seq,
        item: message.id,
        kind: Kind::Message,
        op: Op::Put,
        body: Body::encode(&state)?,
        actor: message.author_id,
        at: message.created_at,
    };
    Ok(RoomEvents {
        room: message.room_id,
        events: vec![event],
        position: Position::new(EPOCH, message.seq),
        live: true,
        reset: false,
    })
}

/// Counts the messages of each room.
#[derive(Debug, Default)]
pub struct Seqs(Mutex<HashMap<RoomId, Arc<Mutex<Seq>>>>);

impl Seqs {
    /// Calls `tell` with the room's next seq. Those of one room are told in the order of their seqs, and no room waits for
    /// another.
    pub fn next<T>(&self, room: RoomId, tell: impl FnOnce(Seq) -> T) -> T {
        let head = Arc::clone(self.0.lock().entry(room).or_default());
        let mut head = head.lock();
        *head = head.next();
        tell(*head)
    }
}
