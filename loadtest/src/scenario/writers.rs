//! People who write at given times, each the same number a second.

use super::Sent;
use crate::{
    arrivals::{Arrivals, Pattern},
    clock::Micros,
    people::Person,
    rooms::Room,
    socket::{Call, Command, Mark, Socket, Stream, event},
};
use anyhow::Result;
use parking_lot::Mutex;
use roost_schema::{ItemId, RoomId};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

/// Characters of a long message.
const LONG: usize = 8_000;

/// What they write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Where their pointer is: not kept, not acknowledged, a later one supersedes it.
    Cursor,
    /// A message: kept and acknowledged.
    Message,
    /// A message of several thousand characters.
    LongMessage,
    /// The title of a todo of their own, changed: kept and acknowledged, a later one may supersede it on its way.
    Todo,
}

/// A series of writes under way.
pub(super) struct Writers {
    what: What,
    arrivals: Arrivals,
    all: Arc<Mutex<Vec<Writer>>>,
}

struct Writer {
    room: RoomId,
    author: String,
    readers: Vec<usize>,
    commands: UnboundedSender<Command>,
    todo: ItemId,
    sent: u64,
}

/// Who writes in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Its first member.
    Owner,
    Everybody,
}

impl Writers {
    /// `rate`: of all, a second.
    pub(super) fn start(
        what: What,
        who: Who,
        rate: f64,
        people: &[Person],
        rooms: &[Room],
        sockets: &[Socket],
    ) -> Self {
        let writer = |room: &Room, member: usize| Writer {
            room: room.id,
            author: people[member].id.to_string(),
            // Nobody is sent their own pointer.
            readers: match what {
                What::Cursor => without(&room.members, member),
                What::Message | What::LongMessage | What::Todo => room.members.clone(),
            },
            commands: sockets[member].commands(),
            todo: ItemId::generate(),
            sent: 0,
        };
        let mut all = Vec::new();
        for room in rooms {
            match who {
                Who::Owner => all.push(writer(room, room.members[0])),
                Who::Everybody => {
                    all.extend(room.members.iter().map(|member| writer(room, *member)));
                }
            }
        }
        let all = Arc::new(Mutex::new(all));
        let writers = Arc::clone(&all);
        let pattern = match what {
            What::Cursor | What::Todo => Pattern::Even,
            What::Message | What::LongMessage => Pattern::Random,
        };
        let arrivals = Arrivals::start(rate, pattern, move |number, due| {
            let mut writers = writers.lock();
            let count = writers.len() as u64;
            let place = usize::try_from(number % count).unwrap_or_default();
            writers[place].write(what, number, due);
        });
        Self {
            what,
            arrivals,
            all,
        }
    }

    /// Gives what was sent.
    pub(super) fn stop(self) -> Result<Vec<Sent>> {
        self.arrivals.stop()?;
        let writers = self.all.lock();
        let sent = writers.iter().map(|writer| Sent {
            room: writer.room,
            stream: match self.what {
                What::Cursor => Stream::Pointers,
                What::Message | What::LongMessage | What::Todo => Stream::Kept,
            },
            author: writer.author.clone(),
            count: writer.sent,
            readers: writer.readers.clone(),
        });
        Ok(sent.collect())
    }
}

impl Writer {
    fn write(&mut self, what: What, id: u64, due: Micros) {
        self.sent += 1;
        let room = self.room;
        let mark = Mark {
            number: self.sent,
            due,
        };
        let call = |name: &str, payload: &Value| {
            Command::Call(id, Call { room, mark }, event(Some(id), name, payload))
        };
        let command = match what {
            What::Cursor => {
                let moved = json!({ "room": room, "x": due, "y": mark.number });
                Command::Emit(due, event(None, "cursor:move", &moved))
            }
            What::Message => call(
                "message:send",
                &json!({ "room": room, "text": mark.text() }),
            ),
            What::LongMessage => {
                let text = format!("{:.<LONG$}", mark.text());
                call("message:send", &json!({ "room": room, "text": text }))
            }
            What::Todo => {
                let body = json!({ "title": mark.text() });
                let put = json!({ "room": room, "kind": "todo", "item": self.todo, "body": body });
                call("item:put", &put)
            }
        };
        // An error: the connection has ended, and what it should have read counts as lost.
        let _ = self.commands.send(command);
    }
}

fn without(members: &[usize], member: usize) -> Vec<usize> {
    let others = members.iter().filter(|other| **other != member);
    others.copied().collect()
}
