//! A person who is invited later, and old positions, on every store and transport, on the writing instance and the
//! others; and a journal that is read while it changes.

use super::property::{Journaled, message_room};
use crate::support::{Person, Server, Via, World, in_time, message, on_each_store};
use async_trait::async_trait;
use roost_schema::{
    DeleteMessage, EditMessage, Epoch, ItemId, Op, OpId, Position, Role, RoomEvents, RoomId, Seq,
    UserId,
};
use roost_server::store::journal::{
    Appended, Entry, FindQuery, FindRoom, Gate, Heads, Journal, Page, Result, SqlJournal, Trim,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

on_each_store!(a_text_is_gone_once_it_was_edited_or_deleted);

const FIRST: &str = "the first wording";
const SECOND: &str = "the second wording";
const KEPT: &str = "what stays";
/// The promise is 2 s on the instances that did not write.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// The same person at each server, alice's server first.
fn places(person: &Person, server: &Server) -> Vec<Person> {
    let servers = std::iter::once(server).chain(&server.others);
    servers.map(|server| person.at(&server.endpoint)).collect()
}

async fn a_text_is_gone_once_it_was_edited_or_deleted(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let room = alice.board("Plan").await.id;
    alice.invite(room, &bob, Role::Viewer).await;
    // A watcher at each instance makes every instance hold the entries in memory.
    let mut watches = Vec::new();
    for bob in places(&bob, &server) {
        let mut watch = bob.watch(Via::Rest, room, None).await.unwrap();
        watch.next().await.unwrap();
        watches.push(watch);
    }
    let sent = alice.send(Via::Rest, room, message(FIRST)).await.unwrap();
    let kept = alice.send(Via::Rest, room, message(KEPT)).await.unwrap();
    for watch in &mut watches {
        assert_eq!(watch.events(2).await[0].item, sent.id);
    }
    let edit = EditMessage {
        text: SECOND.into(),
        op_id: None,
        if_match: None,
    };
    alice.edit(Via::Rest, room, sent.id, edit).await.unwrap();
    for watch in &mut watches {
        watch.events(1).await;
    }
    let none = DeleteMessage::default();
    alice.delete(Via::Rest, room, sent.id, none).await.unwrap();
    let quinn = server.person("quinn").await;
    alice.invite(room, &quinn, Role::Viewer).await;

    let now = alice.list_events(room, None).await.unwrap().position;
    let start = Position::new(now.epoch, Seq::ZERO);
    for (number, reader) in places(&quinn, &server).iter().enumerate() {
        let patience = if number == 0 {
            Duration::ZERO
        } else {
            ELSEWHERE
        };
        let begun = Instant::now();
        for after in [None, Some(start)] {
            assert_state(
                &reader.list_events(room, after).await.unwrap(),
                sent.id,
                kept.id,
            );
            assert_state(
                &asked_by_graphql(reader, room, after).await,
                sent.id,
                kept.id,
            );
        }
        for via in Via::ALL {
            loop {
                let read = read_from(reader, via, room, start, now).await;
                if is_clean(&read) || begun.elapsed() > patience {
                    assert_state(&read, sent.id, kept.id);
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn is_clean(read: &RoomEvents) -> bool {
    let text = serde_json::to_string(read).unwrap();
    !text.contains(FIRST) && !text.contains(SECOND)
}

/// One message is deleted and the other is there, and the first one's text is nowhere.
#[track_caller]
fn assert_state(read: &RoomEvents, gone: ItemId, kept: ItemId) {
    assert!(is_clean(read), "{read:?}");
    let of = |item| read.events.iter().filter(move |event| event.item == item);
    assert_eq!(
        of(gone).map(|event| event.op.clone()).collect::<Vec<_>>(),
        [Op::Delete]
    );
    assert_eq!(of(kept).count(), 1, "{read:?}");
}

/// All frames of a stream from one position to another, merged into one.
async fn read_from(
    reader: &Person,
    via: Via,
    room: RoomId,
    start: Position,
    until: Position,
) -> RoomEvents {
    let mut watch = reader.watch(via, room, Some(start)).await.unwrap();
    let mut all = watch.next().await.unwrap();
    while all.position.seq < until.seq {
        let next = watch.next().await.unwrap();
        all.events.extend(next.events);
        all.position = next.position;
    }
    all
}

async fn asked_by_graphql(reader: &Person, room: RoomId, after: Option<Position>) -> RoomEvents {
    let query = "query($room: RoomId!, $after: Position) {
        events(room: $room, after: $after) {
            room position live reset events { seq item kind op body actor at } } }";
    let variables = json!({ "room": room, "after": after });
    let mut data: Value = reader.query(query, variables).await.unwrap();
    let mut frame = data["events"].take();
    for event in frame["events"].as_array_mut().unwrap() {
        for name in ["kind", "op"] {
            let text = event[name].as_str().unwrap().to_lowercase();
            event[name] = text.into();
        }
    }
    serde_json::from_value(frame).unwrap()
}

/// A journal that reads its next page of changes, and answers it only when the test lets it.
struct Held {
    journal: Arc<SqlJournal>,
    is_read: Notify,
    goes_on: Notify,
}

/// The page was read before the edit and is delivered after it.
#[tokio::test]
async fn a_page_that_was_read_before_an_edit_does_not_tell_what_was_edited() {
    let mut world = Journaled::new().await;
    let item = ItemId::generate();
    world.put(item, FIRST).await;
    let slow = Arc::new(Held {
        journal: world.journal.clone(),
        is_read: Notify::new(),
        goes_on: Notify::new(),
    });
    // An instance with an empty memory, so that the page comes from the journal.
    world.serve_from(slow.clone());
    let room = message_room(&world);
    let head = room.position().await.unwrap();
    let start = Position::new(head.epoch, Seq::ZERO);
    let mut feed = room.clone().watch(world.reader, Some(start)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { feed.page().await.unwrap().unwrap().to_json() });
    in_time(slow.is_read.notified()).await;
    world.put(item, SECOND).await;
    slow.goes_on.notify_one();
    let frame = in_time(tasks.join_next()).await.unwrap().unwrap();
    assert!(!frame.get().contains(FIRST), "{frame}");
}

#[async_trait]
impl Journal for Held {
    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page> {
        let page = self.journal.changes(room, since, limit_bytes).await;
        self.is_read.notify_one();
        self.goes_on.notified().await;
        page
    }

    async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        self.journal.append(room, batch, gate).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads> {
        self.journal.heads(rooms).await
    }

    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page> {
        self.journal.log(room, after, limit_bytes).await
    }

    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>> {
        self.journal.items(room, items).await
    }

    async fn operations(&self, room: RoomId, asked: &[(UserId, OpId)]) -> Result<Vec<Entry>> {
        self.journal.operations(room, asked).await
    }

    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>> {
        self.journal.find(rooms, query).await
    }

    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>> {
        self.journal.rooms(beyond, limit_rooms).await
    }

    async fn trim(&self, bounds: Trim) -> Result<u64> {
        self.journal.trim(bounds).await
    }

    async fn change_epoch(&self, known: Epoch) -> Result<Epoch> {
        self.journal.change_epoch(known).await
    }

    async fn verify(&self) -> Result<()> {
        self.journal.verify().await
    }
}
