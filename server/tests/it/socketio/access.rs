//! Who may send which command over a socket, role by role: every command that a socket registers needs a row here.

use super::{
    client::{Mode, Socket},
    fixture::join,
};
use crate::support::{Person, Server, World};
use roost_schema::{DeleteItem, Item, Role, RoomId};
use roost_server::transport::socketio::command_names;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The replies to an owner, an editor, a viewer and a stranger: empty for success, or the code of the refusal.
type Answers = [&'static str; 4];

const EVERYBODY: Answers = ["", "", "", ""];
const MEMBERS: Answers = ["", "", "", "not_found"];
const WRITERS: Answers = ["", "", "forbidden", "not_found"];
/// The replies about an item that only its author, the owner, may change.
const ITS_AUTHOR: Answers = ["", "forbidden", "forbidden", "not_found"];
/// The replies of commands that need a socket in the room.
const PRESENT: Answers = ["", "", "", "conflict"];

/// What a command is about. The items are the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// No item, or one that the command makes.
    Nothing,
    /// A message, which is its author's.
    Message,
    /// A todo, which is everybody's who may write in the room.
    Todo,
}
use About::{Message, Nothing, Todo};

const COMMANDS: &[(&str, About, Answers)] = &[
    ("room:join", Nothing, MEMBERS),
    ("room:leave", Nothing, EVERYBODY),
    ("item:put", Nothing, WRITERS),
    ("item:put", Message, ITS_AUTHOR),
    ("item:put", Todo, WRITERS),
    ("item:patch", Message, ITS_AUTHOR),
    ("item:patch", Todo, WRITERS),
    ("item:delete", Message, ITS_AUTHOR),
    ("item:delete", Todo, WRITERS),
    ("item:restore", Message, ITS_AUTHOR),
    ("item:restore", Todo, WRITERS),
    ("item:batch", Nothing, WRITERS),
    ("item:batch", Message, ITS_AUTHOR),
    ("item:batch", Todo, WRITERS),
    ("message:send", Nothing, WRITERS),
    ("cursor:move", Nothing, PRESENT),
    ("typing:start", Nothing, PRESENT),
    ("auth:refresh", Nothing, EVERYBODY),
];

#[test]
fn every_command_says_who_may_ask_it() {
    let served: BTreeSet<&str> = command_names().into_iter().collect();
    let listed: BTreeSet<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    assert!(!served.is_empty());
    assert_eq!(served, listed);
}

#[tokio::test]
async fn each_role_is_answered_as_the_table_says() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let people = [
        server.person("editor").await,
        server.person("viewer").await,
        server.stranger().await,
    ];
    let room = alice.board("Plan").await.id;
    alice.invite(room, &people[0], Role::Editor).await;
    alice.invite(room, &people[1], Role::Viewer).await;
    let people: Vec<_> = [&alice].into_iter().chain(&people).collect();
    for (command, about, answers) in COMMANDS {
        for (person, expected) in people.iter().zip(answers) {
            let mut socket = connect(&server, person).await;
            if matches!(*command, "cursor:move" | "typing:start") && expected.is_empty() {
                join(&mut socket, room).await;
            }
            let item = item_of(&alice, room, *about, *command == "item:restore").await;
            let input = input(command, *about, person, &item);
            let before = alice.list_events(room, None).await.unwrap();
            let answer = socket.call(command, &input).await;
            // A batch has a reply for each part.
            let answer = match *command {
                "item:batch" => &answer["outcomes"][0],
                _ => &answer,
            };
            let code = answer["error"]["code"].as_str().unwrap_or_default();
            let context = format!("{command} of {about:?} by {}: {answer}", person.id());
            assert_eq!(code, *expected, "{context}");
            if !expected.is_empty() {
                let after = alice.list_events(room, None).await.unwrap();
                assert_eq!(after, before, "{context}");
            }
        }
    }
}

async fn connect(server: &Server, person: &Person) -> Socket {
    let token = person.signed_in().access_token.expose().to_owned();
    Socket::connect(server.address, Mode::WebSocket, &token).await
}

/// One of the owner's items as it was read; deleted afterwards when `is_deleted`.
async fn item_of(alice: &Person, room: RoomId, about: About, is_deleted: bool) -> Item {
    let (kind, body) = kind_and_body(about);
    let made = alice.put(kind, room, body).await.unwrap();
    let item = alice.read_item(room, made.item).await.unwrap();
    if is_deleted {
        let delete = DeleteItem {
            room,
            item: item.id,
            op_id: None,
            if_match: None,
        };
        alice.delete_item(&delete).await.unwrap();
    }
    item
}

/// The kind of an item, and what one writes of it.
fn kind_and_body(about: About) -> (&'static str, Value) {
    match about {
        Nothing | Message => ("message", json!({ "text": "hello" })),
        Todo => ("todo", json!({ "title": "Buy milk" })),
    }
}

/// An input that is valid for a permitted person.
fn input(command: &str, about: About, person: &Person, item: &Item) -> Value {
    let (room, served) = (item.room_id, &item.body);
    let (kind, body) = kind_and_body(about);
    let item = (about != Nothing).then_some(item.id);
    match command {
        "room:join" | "room:leave" | "typing:start" => json!({ "room": room }),
        "item:put" | "item:patch" => {
            json!({ "room": room, "kind": kind, "item": item, "body": body })
        }
        "item:delete" => json!({ "room": room, "item": item }),
        "item:restore" => json!({ "room": room, "kind": kind, "item": item, "body": served }),
        "item:batch" => {
            let put = json!({ "op": "put", "kind": kind, "item": item, "body": body });
            json!({ "room": room, "ops": [put] })
        }
        "message:send" => json!({ "room": room, "text": "hello" }),
        "cursor:move" => json!({ "room": room, "x": 1.0, "y": 2.0 }),
        "auth:refresh" => json!({ "token": person.signed_in().access_token.expose() }),
        other => panic!("{other} has no input here"),
    }
}
