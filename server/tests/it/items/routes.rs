//! Every route beside every other: what was done by one of them under an operation id, each of the others answers as the
//! first did, and nothing is done twice.

mod asking;

use super::batches::{batch, put};
use crate::support::{Person, Server, Via, World, on_each_store};
use asking::{Asked, Route, Verb};
use roost_schema::{DeleteItem, ErrorCode, ItemId, OpId, RoomId, Seq};
use serde_json::{Value, json};

on_each_store!(
    a_message_that_is_asked_for_by_two_routes_is_changed_once,
    a_todo_that_is_asked_for_by_two_routes_is_changed_once,
    a_list_of_many_changes_numbers_them,
    a_restore_is_no_retry_of_a_put,
);

/// An operation, as it is the same on every route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    /// Makes an item whose id the server makes.
    Make,
    /// Makes an item with an id of the client's.
    MakeNamed,
    /// Changes an item that is there.
    Change,
    Delete,
    Restore,
}
use Operation::{Change, Delete, Make, MakeNamed, Restore};
use Route::{Item, List, Message};
use Via::{GraphQl, Rest, SocketIo};

/// Each operation with every route that can express it. Those of messages alone are passed over for other kinds.
const ROUTES: [(Operation, &[Route]); 5] = [
    (
        Make,
        &[
            Message(Rest, Verb::Create),
            Message(GraphQl, Verb::Create),
            Message(SocketIo, Verb::Create),
            Item(Rest, Verb::Create),
            Item(SocketIo, Verb::Put),
            List(Rest, Verb::Put),
            List(GraphQl, Verb::Put),
            List(SocketIo, Verb::Put),
        ],
    ),
    (
        MakeNamed,
        &[
            Message(Rest, Verb::Create),
            Message(GraphQl, Verb::Create),
            Message(SocketIo, Verb::Create),
            Item(Rest, Verb::Create),
            Item(Rest, Verb::Put),
            Item(SocketIo, Verb::Put),
            List(Rest, Verb::Put),
            List(GraphQl, Verb::Put),
            List(SocketIo, Verb::Put),
        ],
    ),
    (
        Change,
        &[
            Message(Rest, Verb::Patch),
            Message(GraphQl, Verb::Patch),
            Item(Rest, Verb::Put),
            Item(Rest, Verb::Patch),
            Item(SocketIo, Verb::Put),
            Item(SocketIo, Verb::Patch),
            List(Rest, Verb::Put),
            List(Rest, Verb::Patch),
            List(GraphQl, Verb::Put),
            List(GraphQl, Verb::Patch),
            List(SocketIo, Verb::Put),
            List(SocketIo, Verb::Patch),
        ],
    ),
    (
        Delete,
        &[
            Message(Rest, Verb::Delete),
            Message(GraphQl, Verb::Delete),
            Item(Rest, Verb::Delete),
            Item(SocketIo, Verb::Delete),
            List(Rest, Verb::Delete),
            List(GraphQl, Verb::Delete),
            List(SocketIo, Verb::Delete),
        ],
    ),
    (
        Restore,
        &[
            Item(Rest, Verb::Restore),
            Item(SocketIo, Verb::Restore),
            List(Rest, Verb::Restore),
            List(GraphQl, Verb::Restore),
            List(SocketIo, Verb::Restore),
        ],
    ),
];

fn routes(operation: Operation, kind: &str) -> Vec<Route> {
    let rows = ROUTES.iter().filter(|(of, _)| *of == operation);
    let routes = rows.flat_map(|(_, routes)| routes.iter().copied());
    let is_of_kind = |route: &Route| kind == "message" || !matches!(route, Message(..));
    routes.filter(is_of_kind).collect()
}

/// What is written of a new item, with every field that the server would fill in otherwise.
fn draft(kind: &str) -> Value {
    match kind {
        "message" => json!({ "text": "hello" }),
        _ => json!({ "title": "Buy milk", "done": false, "labels": [], "order": "V" }),
    }
}

fn change(kind: &str) -> Value {
    match kind {
        "message" => json!({ "text": "hello there" }),
        _ => json!({ "title": "Buy bread", "done": true }),
    }
}

/// The seq of the room's newest entry.
async fn head(person: &Person, room: RoomId) -> Seq {
    let page = person.list_events(room, None).await.unwrap();
    page.position.seq
}

async fn a_message_that_is_asked_for_by_two_routes_is_changed_once(world: World) {
    every_pair_of_routes(&world.serve().await, "message").await;
}

async fn a_todo_that_is_asked_for_by_two_routes_is_changed_once(world: World) {
    every_pair_of_routes(&world.serve().await, "todo").await;
}

async fn every_pair_of_routes(server: &Server, kind: &'static str) {
    let alice = server.alice().await;
    // In a cluster the operation is repeated on another server.
    let elsewhere = alice.at(&server.next().endpoint);
    for (operation, _) in ROUTES {
        let room = alice.board("Plan").await.id;
        let routes = routes(operation, kind);
        for (number, first) in routes.iter().enumerate() {
            let op_id = format!("{operation:?}-{number}");
            let asked = asked(&alice, room, kind, operation, &op_id).await;
            let before = head(&alice, room).await;
            let done = alice.ask_by(*first, &asked).await.unwrap();
            let seq = head(&alice, room).await;
            assert_eq!(seq, before.next(), "{operation:?} of a {kind} by {first:?}");
            let mut known = done;
            for again in &routes {
                let pair = format!("{operation:?} of a {kind} by {first:?}, then by {again:?}");
                let answer = elsewhere.ask_by(*again, &asked).await;
                let answer = answer.unwrap_or_else(|error| panic!("{pair}: {error}"));
                known.check(&answer, (asked.item, seq), &pair);
                assert_eq!(head(&alice, room).await, seq, "{pair}");
            }
        }
    }
}

/// An operation on an item that is as the operation needs it.
async fn asked(
    alice: &Person,
    room: RoomId,
    kind: &'static str,
    operation: Operation,
    op_id: &str,
) -> Asked {
    let mut asked = Asked {
        room,
        kind,
        item: None,
        body: draft(kind),
        op_id: op_id.parse::<OpId>().unwrap(),
        if_match: None,
    };
    match operation {
        Make => return asked,
        MakeNamed => {
            asked.item = Some(ItemId::generate());
            return asked;
        }
        Change | Delete | Restore => {}
    }
    let made = alice.put(kind, room, draft(kind)).await.unwrap();
    asked.item = Some(made.item);
    asked.if_match = Some(made.seq);
    match operation {
        Change => asked.body = change(kind),
        Restore => {
            asked.body = made.body.decode().unwrap();
            asked.if_match = None;
            delete(alice, room, made.item).await;
        }
        _ => {}
    }
    asked
}

async fn delete(person: &Person, room: RoomId, item: ItemId) {
    let delete = DeleteItem {
        room,
        item,
        op_id: None,
        if_match: None,
    };
    person.socket().await.delete_item(&delete).await.unwrap();
}

/// One change in a list has the list's operation id; of several each has a number behind it, and the id itself stays free.
async fn a_list_of_many_changes_numbers_them(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    for via in Via::ALL {
        let name = format!("list-{via:?}");
        let items = [ItemId::generate(), ItemId::generate()];
        let texts = ["one", "two"];
        let ops = vec![put(items[0], texts[0]), put(items[1], texts[1])];
        let input = batch(room, Some(&name), ops);
        let done = alice.batch(via, &input).await.unwrap();
        let last = head(&alice, room).await;
        let asked = |item, op_id: &str, text: &str| Asked {
            room,
            kind: "message",
            item,
            body: json!({ "text": text }),
            op_id: op_id.parse().unwrap(),
            if_match: None,
        };
        for (number, outcome) in done.outcomes.iter().enumerate() {
            let op_id = format!("{name}:{number}");
            let asked = asked(Some(items[number]), &op_id, texts[number]);
            for route in routes(MakeNamed, "message") {
                let again = alice.ask_by(route, &asked).await;
                let again = again.unwrap_or_else(|error| panic!("{via:?}, {route:?}: {error}"));
                assert_eq!(
                    again.at,
                    outcome.item.zip(outcome.seq),
                    "{via:?}, {route:?}"
                );
            }
        }
        assert_eq!(head(&alice, room).await, last, "{via:?}");
        let other = asked(None, &name, "three");
        alice
            .ask_by(Item(SocketIo, Verb::Put), &other)
            .await
            .unwrap();
        assert_eq!(head(&alice, room).await, last.next(), "{via:?}");
    }
}

/// A restore writes what a put of the same body would write, and is another request all the same.
async fn a_restore_is_no_retry_of_a_put(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    for kind in ["message", "todo"] {
        for (number, route) in routes(Restore, kind).into_iter().enumerate() {
            let context = format!("{route:?} of a {kind}");
            let asked = |verb: &str, body: Value, item| Asked {
                room,
                kind,
                item: Some(item),
                body,
                op_id: format!("{verb}-{kind}-{number}").parse().unwrap(),
                if_match: None,
            };
            let item = ItemId::generate();
            let put = asked("put", draft(kind), item);
            let by_socket = Item(SocketIo, Verb::Put);
            alice.ask_by(by_socket, &put).await.unwrap();
            let held = alice.read_item(room, item).await.unwrap();
            let held: Value = held.body.decode().unwrap();
            delete(&alice, room, item).await;
            let last = head(&alice, room).await;

            let under_the_puts_id = asked("put", held.clone(), item);
            let refused = alice.ask_by(route, &under_the_puts_id).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::OpIdReused), "{context}");
            let restore = asked("restore", held, item);
            alice.ask_by(route, &restore).await.unwrap();
            let put = asked("restore", draft(kind), item);
            let refused = alice.ask_by(by_socket, &put).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::OpIdReused), "{context}");
            assert_eq!(head(&alice, room).await, last.next(), "{context}");
        }
    }
}
