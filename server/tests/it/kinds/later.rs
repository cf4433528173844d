//! Bodies and terms that a later release wrote into any store: this release changes what it knows of them, and keeps the
//! rest.

use crate::support::{Person, Via, World, on_each_store};
use chrono::DateTime;
use roost_schema::{Body, EditMessage, ItemId, Kind, Op, OpId, RoomEvent, RoomId, Seq, Term};
use roost_server::store::journal::{Entry, Journal, OpenGate, RequestHash, SqlJournal, Terms};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

on_each_store!(
    a_message_of_a_later_release_survives_an_edit,
    a_todo_of_a_later_release_survives_a_patch,
);

/// In files, because the next release has to keep them, too.
const LATER_MESSAGE: &str = include_str!("later-message.json");
const LATER_TODO: &str = include_str!("later-todo.json");

/// The journal of a world, beside its servers.
struct Beside {
    journal: Arc<dyn Journal>,
    _stop: DropGuard,
}

impl Beside {
    async fn of(world: &World) -> Self {
        let stop = CancellationToken::new();
        let journal: Arc<dyn Journal> = if world.journal_url.is_empty() {
            let sql = world.sql.clone();
            let opened = SqlJournal::open(sql, &TaskTracker::new(), stop.clone()).await;
            opened.unwrap()
        } else {
            world.journal().await
        };
        Self {
            journal,
            _stop: stop.drop_guard(),
        }
    }

    /// Appends a new item of a kind, with terms, as a later release would; answers it.
    async fn append(&self, room: RoomId, kind: Kind, body: &str, author: &Person) -> ItemId {
        let heads = self.journal.heads(&[room]).await.unwrap();
        let seq = heads.rooms[&room].head.next();
        let item = ItemId::generate();
        let terms = ["later:thing", "on:019f"].map(|term| term.parse::<Term>().unwrap());
        let entry = Entry {
            room,
            seq,
            item,
            kind,
            op: Op::Put,
            body: Body::from_text(body.to_owned()).unwrap(),
            actor: author.id(),
            op_id: Some(OpId::from_kept(format!("later-{item}"))),
            request_hash: RequestHash([0; 32]),
            asked_hash: None,
            at: DateTime::UNIX_EPOCH,
            born: seq,
            terms: Terms::new(terms),
            current: true,
        };
        let gate = Arc::new(OpenGate) as _;
        let appended = self.journal.append(room, &[entry], &gate).await.unwrap();
        assert_eq!(appended.committed, 1);
        item
    }

    /// The body and the terms of an item, and the seq of its newest entry.
    async fn kept(&self, room: RoomId, item: ItemId) -> (Seq, Value, Vec<String>) {
        let entries = self.journal.items(room, &[item]).await.unwrap();
        let [entry] = entries.try_into().unwrap();
        let terms = entry.terms.iter().map(|term| term.as_str().to_owned());
        (entry.seq, entry.body.decode().unwrap(), terms.collect())
    }
}

async fn a_message_of_a_later_release_survives_an_edit(world: World) {
    let mut server = world.serve().await;
    let mut alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let beside = Beside::of(&world).await;
    let body = LATER_MESSAGE.replace("{author}", &alice.id().to_string());
    let item = beside.append(room, Kind::Message, &body, &alice).await;
    let mut expected: Value = serde_json::from_str(&body).unwrap();
    for via in Via::ALL {
        let edit = EditMessage {
            text: format!("changed by {via:?}"),
            op_id: None,
            if_match: None,
        };
        let edited = alice.edit(via, room, item, edit).await.unwrap();
        expected["text"] = json!(edited.text);
        expected["editedAt"] = json!(edited.edited_at);
        let terms = ["later:thing", "on:019f"].map(str::to_owned).to_vec();
        let kept = beside.kept(room, item).await;
        assert_eq!(kept, (edited.seq, expected.clone(), terms), "{via:?}");
        // The next server has none of it in memory.
        server.stop().await;
        server = world.serve().await;
        alice = alice.at(&server.endpoint);
    }
}

async fn a_todo_of_a_later_release_survives_a_patch(world: World) {
    let mut server = world.serve().await;
    let mut alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let beside = Beside::of(&world).await;
    let body = LATER_TODO.replace("{author}", &alice.id().to_string());
    let item = beside.append(room, Kind::Todo, &body, &alice).await;
    let mut expected: Value = serde_json::from_str(&body).unwrap();
    for (due, title) in [("2027-01-10", "once"), ("2027-01-11", "again")] {
        let patch = json!({ "title": title, "due": due });
        let event: RoomEvent = alice.patch("todo", room, item, patch).await.unwrap();
        expected["title"] = json!(title);
        expected["due"] = json!(due);
        assert_eq!(event.body.decode::<Value>().unwrap(), expected);
        // What this release names follows the change, and what it does not know stays.
        let terms = vec![format!("due:{due}"), "later:thing".into(), "on:019f".into()];
        let kept = beside.kept(room, item).await;
        assert_eq!(kept, (event.seq, expected.clone(), terms));
        server.stop().await;
        server = world.serve().await;
        alice = alice.at(&server.endpoint);
    }
}
