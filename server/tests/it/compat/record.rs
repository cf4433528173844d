//! The story that is recorded: people who register and sign in, rooms of every type, every role, messages that were
//! edited and deleted before and after the journal was trimmed, and a change that waits to be relayed.

use super::{
    Golden, Stores,
    bus::Listener,
    documents, keys, tables,
    told::{ask, refresh_token},
};
use crate::support::{PASSWORD, Person, Server, World, eventually, message, op};
use chrono::{TimeDelta, Utc};
use roost_client::Socket;
use roost_schema::{
    ChangeRole, ChangeRoom, CreateBoard, DeleteMessage, EditMessage, InRoom, MoveCursor,
    NameSession, OpenConversation, Position, Register, Role, RoomId, Secret, SendMessage, Seq,
};
use roost_server::store::{
    NewRoom,
    journal::{Entry, Journal, Trim},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The names of the messages that must be published before the recording ends.
const BUS: [&str; 5] = ["events", "presence", "awareness", "revoked", "beacon"];
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Operation ids that a client repeats.
pub(super) const REGISTERED: &str = "register-alice";
pub(super) const CREATED: &str = "create-plan";
pub(super) const SENT: &str = "send-first";

/// In the order in which they registered.
pub(super) struct People {
    pub(super) alice: Person,
    pub(super) bob: Person,
    pub(super) carol: Person,
    pub(super) dave: Person,
}

/// The rooms of the story, and the board's first position.
pub(super) struct Rooms {
    pub(super) board: RoomId,
    pub(super) archived: RoomId,
    pub(super) others: Vec<RoomId>,
    pub(super) early: Position,
    pub(super) sent: Value,
}

pub(super) async fn record(stores: Stores) -> Golden {
    let is_cluster = matches!(stores, Stores::Cluster);
    let world = stores.world().await;
    let server = world.serve_one_with(&[]).await;
    let people = People::register(&server).await;
    let rooms = people.make_rooms().await;
    server.stop().await;
    empty(&world).await;

    let mut servers = vec![world.serve_one_with(&[]).await];
    let mut listener = None;
    if is_cluster {
        servers.push(world.serve_one_with(&[]).await);
        listener = Some(Listener::start(&world).await);
    }
    let people = people.at(&servers);
    let mut sockets = Vec::new();
    if let Some(listener) = &listener {
        sockets = people.meet(rooms.board, listener).await;
    }
    let ended_refresh_token = people.write_more(&rooms).await;
    let mut bus = Vec::new();
    if let Some(listener) = listener {
        eventually(|| async { BUS.iter().all(|name| listener.has_heard(name)) }).await;
        bus = listener.end().await;
    }
    let mut told = people.tell(&rooms, ended_refresh_token).await;
    if let Some(lost) = sockets.pop() {
        drop(lost);
        told.present = people.see_moving(rooms.board).await;
    }
    let mut keys = BTreeMap::new();
    if is_cluster {
        keys = keys::dump(&world).await;
    }
    // Dropped without stopping, as after a power cut: their rows and keys stay.
    drop((sockets, servers));
    told.pending = leave_pending(&world, &people.dave).await;
    told.logs = logs(&world, &rooms).await;
    Golden {
        written_at: Utc::now(),
        tables: tables::dump(&world).await,
        documents: documents::dump(&world).await,
        keys,
        bus,
        told,
    }
}

impl People {
    async fn register(server: &Server) -> Self {
        let input = Register {
            email: "alice@example.org".to_owned(),
            password: Secret::new(PASSWORD),
            name: "alice".to_owned(),
            op_id: Some(op(REGISTERED)),
        };
        // The first answer is lost, and the request is repeated.
        server.endpoint.register(&input).await.unwrap();
        server.endpoint.register(&input).await.unwrap();
        Self {
            alice: Person::sign_in_at(&server.endpoint, "alice").await,
            bob: server.bob().await,
            carol: server.person("carol").await,
            dave: server.person("dave").await,
        }
    }

    /// The same people at the next servers.
    fn at(&self, servers: &[Server]) -> Self {
        let (here, there) = (&servers[0], &servers[servers.len() - 1]);
        Self {
            alice: self.alice.at(&here.endpoint),
            bob: self.bob.at(&there.endpoint),
            carol: self.carol.at(&there.endpoint),
            dave: self.dave.at(&here.endpoint),
        }
    }

    /// Makes rooms of every type, with every role, and messages that were edited and deleted.
    async fn make_rooms(&self) -> Rooms {
        let Self {
            alice,
            bob,
            carol,
            dave,
        } = self;
        let plan = CreateBoard {
            title: "Plan".to_owned(),
            op_id: Some(op(CREATED)),
        };
        let board = alice.create_board(&plan).await.unwrap().id;
        alice.invite(board, bob, Role::Editor).await;
        alice.invite(board, carol, Role::Viewer).await;
        alice.invite(board, dave, Role::Editor).await;
        let open = async |others: Vec<&Person>, title: Option<&str>| {
            let input = OpenConversation {
                user_ids: others.iter().map(|person| person.id()).collect(),
                title: title.map(str::to_owned),
                op_id: None,
            };
            alice.open_conversation(&input).await.unwrap().id
        };
        let direct = open(vec![bob], None).await;
        let group = open(vec![bob, carol], Some("Group")).await;
        alice.remove_member(group, carol.id(), None).await.unwrap();
        let archived = alice.board("Past").await.id;
        alice
            .send_message(archived, &message("over"))
            .await
            .unwrap();
        let change = ChangeRoom {
            archived: Some(true),
            ..ChangeRoom::default()
        };
        alice.change_room(archived, &change).await.unwrap();

        let first = SendMessage {
            op_id: Some(op(SENT)),
            ..message("first")
        };
        let sent = alice.send_message(board, &first).await.unwrap();
        let early = alice.list_events(board, None).await.unwrap().position;
        edit(bob, board, "second", "second, edited early").await;
        delete(bob, board, "third").await;
        bob.send_message(direct, &message("between us"))
            .await
            .unwrap();
        bob.send_message(group, &message("to all")).await.unwrap();
        Rooms {
            board,
            archived,
            others: vec![direct, group, archived],
            early,
            sent: serde_json::to_value(sent).unwrap(),
        }
    }

    /// Writes after the journal was trimmed. Answers the refresh token of a session that was signed out.
    async fn write_more(&self, rooms: &Rooms) -> String {
        let Self {
            alice, bob, dave, ..
        } = self;
        edit(alice, rooms.board, "fourth", "fourth, edited late").await;
        delete(alice, rooms.board, "fifth").await;
        bob.send_message(
            rooms.board,
            &message("sixth: äöü 🦀 \"quoted\" \\ 'single'"),
        )
        .await
        .unwrap();
        let role = ChangeRole {
            role: Role::Commenter,
            op_id: Some(op("demote-dave")),
        };
        alice
            .change_role(rooms.board, dave.id(), &role)
            .await
            .unwrap();
        let title = ChangeRoom {
            title: Some("Plan B".to_owned()),
            ..ChangeRoom::default()
        };
        alice.change_room(rooms.board, &title).await.unwrap();

        let laptop = alice.sign_in().await;
        let name = NameSession {
            name: "laptop".to_owned(),
        };
        let session = laptop.client().signed_in().session.id;
        laptop.name_session(session, &name).await.unwrap();
        let phone = alice.sign_in().await;
        let ended = refresh_token(&phone);
        phone.logout().await.unwrap();
        alice.refresh().await.unwrap();
        ended
    }

    /// The people join the board, move their cursors and type.
    async fn meet(&self, board: RoomId, listener: &Listener) -> Vec<Socket> {
        let mut sockets = Vec::new();
        for person in [&self.alice, &self.bob, &self.carol] {
            let socket = Socket::connect(person.client()).await.unwrap();
            socket.join(board, None).await.unwrap();
            sockets.push(socket);
        }
        let cursor = MoveCursor {
            room: board,
            x: 0.25,
            y: 0.75,
        };
        for socket in &sockets {
            let _: Value = socket.call("cursor:move", &cursor).await.unwrap();
            let typing = InRoom { room: board };
            let _: InRoom = socket.call("typing:start", &typing).await.unwrap();
        }
        eventually(|| async { listener.has_heard("awareness") }).await;
        sockets
    }

    /// Waits until a person is moving; answers who is in the board then.
    async fn see_moving(&self, board: RoomId) -> Vec<Value> {
        let path = format!("/rooms/{board}/presence");
        loop {
            let (present, _) = ask(&self.alice, &path).await;
            let present = present["items"].as_array().unwrap();
            if present.iter().any(|person| person["state"] == "moving") {
                return present.clone();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn edit(person: &Person, room: RoomId, text: &str, edited: &str) {
    let sent = person.send_message(room, &message(text)).await.unwrap();
    let edit = EditMessage {
        text: edited.to_owned(),
        op_id: None,
        if_match: None,
    };
    person.edit_message(room, sent.id, &edit).await.unwrap();
}

async fn delete(person: &Person, room: RoomId, text: &str) {
    let sent = person.send_message(room, &message(text)).await.unwrap();
    let input = DeleteMessage::default();
    person.delete_message(room, sent.id, &input).await.unwrap();
}

pub(super) async fn journal(world: &World) -> Arc<dyn Journal> {
    if world.journal_url.is_empty() {
        return world.instance().await.store.journal.clone();
    }
    world.journal().await
}

/// Empties the superseded entries and deletions so far, as after a day and after thirty.
async fn empty(world: &World) {
    let now = Utc::now() + TimeDelta::seconds(1);
    let bounds = Trim {
        superseded_before: now,
        tombstones_before: now,
    };
    let emptied = journal(world).await.trim(bounds).await.unwrap();
    assert!(emptied > 0);
}

/// Makes a room whose events wait in the outbox, as if the process had ended right after its transaction.
async fn leave_pending(world: &World, dave: &Person) -> RoomId {
    let new = NewRoom {
        room_type: roost_schema::RoomType::Board,
        title: "Left behind".parse().unwrap(),
        creator: dave.id(),
        others: Vec::new(),
    };
    let store = world.instance().await.store;
    let room = store.rooms.create(None, &new).await.unwrap().id;
    assert!(!store.outbox.is_empty(room).await.unwrap());
    room
}

async fn logs(world: &World, rooms: &Rooms) -> BTreeMap<RoomId, Vec<Value>> {
    let journal = journal(world).await;
    let mut logs = BTreeMap::new();
    for room in std::iter::once(&rooms.board).chain(&rooms.others) {
        let log = journal.log(*room, Seq::ZERO, usize::MAX).await.unwrap();
        let entries = log.entries.iter().map(Entry::to_json).collect();
        logs.insert(*room, entries);
    }
    logs
}
