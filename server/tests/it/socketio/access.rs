//! Who may send which command over a socket, role by role: every command of the table needs a row here.

use super::{
    client::{Mode, Socket},
    fixture::join,
};
use crate::support::{Person, Server, World, message};
use roost_schema::{DeleteMessage, Item, Role, RoomId};
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

const COMMANDS: &[(&str, Answers)] = &[
    ("room:join", MEMBERS),
    ("room:leave", EVERYBODY),
    ("item:put", WRITERS),
    ("item:patch", ITS_AUTHOR),
    ("item:delete", ITS_AUTHOR),
    ("item:restore", ITS_AUTHOR),
    ("item:batch", WRITERS),
    ("message:send", WRITERS),
    ("cursor:move", PRESENT),
    ("typing:start", PRESENT),
    ("auth:refresh", EVERYBODY),
];

#[test]
fn every_command_says_who_may_ask_it() {
    let table = include_str!("../../../src/transport/sockets/commands.rs");
    let rows = table.lines().filter_map(|line| {
        let row = line.trim();
        let row = row
            .strip_prefix("to.answer(\"")
            .or(row.strip_prefix("to.converse(\""));
        row?.split_once('"').map(|(name, _)| name)
    });
    let served: BTreeSet<&str> = rows.collect();
    let listed: BTreeSet<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
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
    for (command, answers) in COMMANDS {
        for (person, expected) in people.iter().zip(answers) {
            let mut socket = connect(&server, person).await;
            if matches!(*command, "cursor:move" | "typing:start") && expected.is_empty() {
                join(&mut socket, room).await;
            }
            let item = item_of(&alice, room, *command == "item:restore").await;
            let input = input(command, person, &item);
            let answer = socket.call(command, &input).await;
            // A batch has a reply for each part.
            let answer = match *command {
                "item:batch" => &answer["outcomes"][0],
                _ => &answer,
            };
            let code = answer["error"]["code"].as_str().unwrap_or_default();
            assert_eq!(code, *expected, "{command} by {}: {answer}", person.id());
        }
    }
}

async fn connect(server: &Server, person: &Person) -> Socket {
    let token = person.signed_in().access_token.expose().to_owned();
    Socket::connect(server.address, Mode::WebSocket, &token).await
}

/// One of the owner's messages as it was read; deleted afterwards when `is_deleted`.
async fn item_of(alice: &Person, room: RoomId, is_deleted: bool) -> Item {
    let sent = alice.send_message(room, &message("hello")).await.unwrap();
    let item = alice.read_item(room, sent.id).await.unwrap();
    if is_deleted {
        let delete = DeleteMessage::default();
        alice.delete_message(room, sent.id, &delete).await.unwrap();
    }
    item
}

/// An input that is valid for a permitted person.
fn input(command: &str, person: &Person, item: &Item) -> Value {
    let (room, item, served) = (item.room_id, item.id, &item.body);
    let body = json!({ "text": "changed" });
    match command {
        "room:join" | "room:leave" | "typing:start" => json!({ "room": room }),
        "item:put" => json!({ "room": room, "kind": "message", "body": body }),
        "item:patch" => json!({ "room": room, "kind": "message", "item": item, "body": body }),
        "item:delete" => json!({ "room": room, "item": item }),
        "item:restore" => json!({ "room": room, "kind": "message", "item": item, "body": served }),
        "item:batch" => {
            let put = json!({ "op": "put", "kind": "message", "body": body });
            json!({ "room": room, "ops": [put] })
        }
        "message:send" => json!({ "room": room, "text": "hello" }),
        "cursor:move" => json!({ "room": room, "x": 1.0, "y": 2.0 }),
        "auth:refresh" => json!({ "token": person.signed_in().access_token.expose() }),
        other => panic!("{other} has no input here"),
    }
}
