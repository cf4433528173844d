//! What a socket receives: whose writes in which order, and how long each took.

use crate::{
    clock::Micros,
    recorder::{Recorder, Timing},
    sequence::{Faults, Sequence},
};
use roost_client::packet::Packet;
use roost_schema::{RoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// The length of a message, filled up with blanks: a sentence or two.
const TEXT_BYTES: usize = 100;

/// What a write carries: which of its author's writes in the room it is, and when it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Counted from 1.
    pub number: u64,
    pub due: Micros,
}

impl Mark {
    /// As the text of a message.
    pub fn text(self) -> String {
        let text = format!("{} {} .", self.number, self.due);
        format!("{text:.<TEXT_BYTES$}")
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        Some(Self {
            number: words.next()?.parse().ok()?,
            due: words.next()?.parse().ok()?,
        })
    }
}

/// A write that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub room: RoomId,
    pub mark: Mark,
}

/// What has come of one room.
#[derive(Clone, Debug, Default)]
struct Seen {
    position: Option<String>,
    /// Of each author: what is kept, and pointers.
    kept: HashMap<String, Sequence>,
    pointers: HashMap<String, Sequence>,
}

/// An author numbers what is kept and their pointers separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Kept,
    Pointers,
}

/// What a socket read, and has still to be answered.
#[derive(Clone, Debug)]
pub struct Reader {
    recorder: Arc<Recorder>,
    pub author: UserId,
    /// By the room's id.
    rooms: HashMap<String, Seen>,
    calls: HashMap<u64, Call>,
    /// Own writes that were refused.
    pub refused: Vec<Call>,
    pub closed_by_the_server: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Noted,
    Ping,
    /// The token of the socket ends soon.
    Expiring,
    End,
}

impl Reader {
    pub fn new(recorder: &Arc<Recorder>, author: UserId) -> Self {
        Self {
            recorder: Arc::clone(recorder),
            author,
            rooms: HashMap::new(),
            calls: HashMap::new(),
            refused: Vec::new(),
            closed_by_the_server: false,
        }
    }

    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Where to resume a room.
    pub fn position(&self, room: RoomId) -> Option<&str> {
        self.rooms.get(&room.to_string())?.position.as_deref()
    }

    /// Own calls that have no answer.
    pub fn unanswered(&self) -> usize {
        self.calls.len()
    }

    /// What was wrong with the writes of an author in a room. `sent`: how many there were.
    pub fn faults(
        &self,
        room: RoomId,
        stream: Stream,
        author: &str,
        sent: u64,
        refused: impl Fn(u64) -> bool,
    ) -> Faults {
        let seen = self.rooms.get(&room.to_string());
        let sequences = seen.map(|seen| match stream {
            Stream::Kept => &seen.kept,
            Stream::Pointers => &seen.pointers,
        });
        let sequence = sequences.and_then(|sequences| sequences.get(author));
        sequence.cloned().unwrap_or_default().faults(sent, refused)
    }

    pub(super) fn expect(&mut self, id: u64, call: Call) {
        self.calls.insert(id, call);
    }

    pub(super) fn receive(&mut self, frame: &str) -> Received {
        self.recorder.count_frame(frame.len());
        match Packet::read(frame) {
            Some(Packet::Ping) => return Received::Ping,
            Some(Packet::Close | Packet::Disconnect) => return Received::End,
            Some(Packet::Ack { id, payload }) => self.receive_answer(id, payload),
            Some(Packet::Event {
                name: "auth:expiring",
                ..
            }) => return Received::Expiring,
            Some(Packet::Event {
                name: "room:events",
                payload,
            }) => self.receive_events(payload),
            Some(Packet::Event {
                name: "room:awareness",
                payload,
            }) => self.receive_awareness(payload),
            _ => {}
        }
        Received::Noted
    }

    fn receive_answer(&mut self, id: u64, payload: &str) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.recorder.count_answer();
        if let Some(error) = payload.strip_prefix(r#"{"error":"#) {
            let code = error.split('"').nth(3).unwrap_or("unreadable");
            self.recorder.fail(call.mark.due, code);
            self.refused.push(call);
        } else {
            self.recorder.record(Timing::Acknowledgement, call.mark.due);
        }
    }

    fn receive_events(&mut self, payload: &str) {
        let Ok(frame) = serde_json::from_str::<Frame>(payload) else {
            return self.recorder.fail(crate::clock::now(), "unreadable");
        };
        let seen = seen(&mut self.rooms, frame.room);
        for event in &frame.events {
            let body = serde_json::from_str::<Body>(event.body.get()).unwrap_or_default();
            let (Some(author), Some(mark)) = (body.author_id, Mark::read(&body.text)) else {
                continue;
            };
            sequence(&mut seen.kept, author).receive(mark.number);
            self.recorder.record(Timing::Delivery, mark.due);
        }
        seen.position = Some(frame.position.to_owned());
    }

    fn receive_awareness(&mut self, payload: &str) {
        let Ok(awareness) = serde_json::from_str::<Awareness>(payload) else {
            return self.recorder.fail(crate::clock::now(), "unreadable");
        };
        let seen = seen(&mut self.rooms, awareness.room);
        for person in &awareness.people {
            let Some(Cursor { x, y }) = person.cursor else {
                continue;
            };
            sequence(&mut seen.pointers, person.user_id).receive(whole(y));
            self.recorder.record(Timing::Delivery, whole(x));
        }
    }
}

fn seen<'a>(rooms: &'a mut HashMap<String, Seen>, room: &str) -> &'a mut Seen {
    if !rooms.contains_key(room) {
        rooms.insert(room.to_owned(), Seen::default());
    }
    rooms.get_mut(room).expect("it was just inserted")
}

fn sequence<'a>(sequences: &'a mut HashMap<String, Sequence>, author: &str) -> &'a mut Sequence {
    if !sequences.contains_key(author) {
        sequences.insert(author.to_owned(), Sequence::default());
    }
    sequences.get_mut(author).expect("it was just inserted")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cursor carries whole numbers, which a double holds exactly"
)]
const fn whole(coordinate: f64) -> u64 {
    coordinate as u64
}

/// The fields of `room:events` that are used here.
#[derive(Deserialize)]
struct Frame<'a> {
    room: &'a str,
    #[serde(borrow)]
    events: Vec<Event<'a>>,
    position: &'a str,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
}

/// A message, or what else carries a mark in its title.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    author_id: Option<&'a str>,
    #[serde(borrow, default, alias = "title")]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Awareness<'a> {
    room: &'a str,
    #[serde(borrow)]
    people: Vec<PersonAwareness<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersonAwareness<'a> {
    user_id: &'a str,
    cursor: Option<Cursor>,
}

#[derive(Clone, Copy, Deserialize)]
struct Cursor {
    x: f64,
    y: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const ROOM: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn room() -> RoomId {
        ROOM.parse().unwrap()
    }

    fn message(mark: Mark) -> String {
        format!(
            r#"42["room:events",{{"room":"{ROOM}","events":[{{"seq":1,"item":"i","kind":"message","op":"put",
            "body":{{"authorId":"a","text":"{}"}},"actor":"a","at":"t"}}],"position":"1.{}","live":true}}]"#,
            mark.text(),
            mark.number
        )
    }

    #[test]
    fn messages_and_cursors_are_noted_by_author() {
        let recorder = Arc::new(Recorder::default());
        recorder.begin();
        let mut reader = Reader::new(&recorder, UserId::generate());
        for number in [1, 3] {
            let due = clock::now();
            assert_eq!(
                reader.receive(&message(Mark { number, due })),
                Received::Noted
            );
        }
        let moved = format!(
            r#"42["room:awareness",{{"room":"{ROOM}","people":[{{"userId":"b","cursor":{{"x":{}.0,"y":1}}}}]}}]"#,
            clock::now()
        );
        reader.receive(&moved);

        assert_eq!(
            reader.faults(room(), Stream::Kept, "a", 3, |_| false).lost,
            1
        );
        assert_eq!(
            reader
                .faults(room(), Stream::Kept, "a", 3, |number| number == 2)
                .lost,
            0
        );
        assert_eq!(
            reader.faults(room(), Stream::Pointers, "b", 1, |_| false),
            Faults::default()
        );
        assert_eq!(reader.position(room()), Some("1.3"));
        assert_eq!(recorder.count(Timing::Delivery), 3);
        assert!(recorder.errors().is_empty(), "{:?}", recorder.errors());
    }

    #[test]
    fn a_refusal_is_an_error_and_no_acknowledgement() {
        let recorder = Arc::new(Recorder::default());
        recorder.begin();
        let mut reader = Reader::new(&recorder, UserId::generate());
        for number in [1, 2] {
            let due = clock::now();
            let mark = Mark { number, due };
            reader.expect(number, Call { room: room(), mark });
        }
        reader.receive(r#"431[{"error":{"code":"overloaded","message":"m"}}]"#);
        reader.receive(r#"432[{"id":"x"}]"#);

        assert_eq!(recorder.errors()["overloaded"], 1);
        assert_eq!(recorder.count(Timing::Acknowledgement), 1);
        assert_eq!(reader.refused.len(), 1);
        assert_eq!(reader.unanswered(), 0);
    }

    #[test]
    fn a_mark_fills_a_message_and_is_read_back() {
        let mark = Mark {
            number: 7,
            due: 123,
        };
        assert_eq!(mark.text().len(), TEXT_BYTES);
        assert_eq!(Mark::read(&mark.text()), Some(mark));
        assert_eq!(Mark::read("hello"), None);
    }
}
