//! Hostile input: the documented error, no crash, no effect.

use super::{ask, code, token, websocket::Raw};
use crate::support::{World, eventually, in_time, message, unfinished_frame};
use roost_schema::{ItemId, RoomId};
use serde_json::{Value, json};
use std::fmt::Write;

/// Documents that would cost far more than any honest one.
fn bombs() -> Vec<(&'static str, String)> {
    let many = |count: usize, field: &str| -> String {
        let numbered = (0..count).map(|number| field.replace('#', &number.to_string()));
        numbered.collect()
    };
    let nested = |open: &str, inside: &str, close: &str| {
        format!("{}{inside}{}", open.repeat(5_000), close.repeat(5_000))
    };
    let mut doubling = "{...f0} fragment f18 on Query {me{id}}".to_owned();
    for n in 0..18 {
        let next = n + 1;
        let _ = write!(doubling, "fragment f{n} on Query {{...f{next} ...f{next}}}");
    }
    vec![
        ("lists", format!("{{a(b:{})}}", nested("[", "", "]"))),
        ("objects", format!("{{a(b:{})}}", nested("{c:", "1", "}"))),
        ("selections", nested("{a", "", "}")),
        (
            "variable types",
            format!("query($a:{}){{a}}", nested("[", "Int", "]")),
        ),
        ("half a list", format!("{{a(b:{}", "[".repeat(60_000))),
        ("aliases", format!("{{{}}}", many(1_000, "a#:__typename "))),
        ("root fields", format!("{{{}}}", many(21, "__typename "))),
        ("fields", format!("{{me{{{}}}}}", many(2_000, "id "))),
        ("depth", format!("{}a{}", "{a".repeat(25), "}".repeat(25))),
        (
            "length",
            format!("{{__typename}}{}", " ".repeat(64 * 1_024)),
        ),
        (
            "pages in pages of cost",
            format!(
                "{{{}}}",
                many(
                    10,
                    "a#:rooms(limit:100){items{id type title archived role createdBy{id name}}} "
                )
            ),
        ),
        ("doubling fragments", doubling),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_on_both_ways_in() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let token = token(&alice).await;
    let mut socket = Raw::signed_in(&server, &alice).await;
    for (name, bomb) in bombs() {
        let answer = ask(&server, &token, &bomb, json!({})).await;
        assert_eq!(code(&answer), "too_large", "{name}: {answer}");
        socket.subscribe(name, &bomb, json!({})).await;
        assert_eq!(socket.refusal(name).await, "too_large", "{name}");
    }
    for (name, wrong) in [
        (
            "a circle",
            "{...a} fragment a on Query{...b} fragment b on Query{...a}",
        ),
        ("an open string", "{a(b:\"\"\"[[[[)}"),
        ("nothing", ""),
        ("no operation", "fragment a on Query{me{id}}"),
    ] {
        let answer = ask(&server, &token, wrong, json!({})).await;
        assert_eq!(code(&answer), "malformed", "{name}: {answer}");
        socket.subscribe(name, wrong, json!({})).await;
        assert_eq!(socket.refusal(name).await, "malformed", "{name}");
    }
    // The server and the socket still work.
    socket.subscribe("after", "{me{name}}", json!({})).await;
    assert_eq!(
        socket.receive().await.unwrap()["payload"]["data"]["me"]["name"],
        "alice"
    );
}

#[tokio::test]
async fn deep_variables_are_refused() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let body =
        format!(r#"{{"query":"query($a: Json){{__typename}}","variables":{{"a":{nested}}}}}"#);
    let request = server.graphql().header("content-type", "application/json");
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(code(&response.json().await.unwrap()), "malformed");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let (alice, eve) = (server.alice().await, server.stranger().await);
    let board = alice.board("Plan").await;
    let hello = alice
        .send_message(board.id, &message("hello"))
        .await
        .unwrap();
    let before = alice.list_events(board.id, None).await.unwrap();
    let (alices, eves) = (token(&alice).await, token(&eve).await);
    let send = "mutation($room: RoomId!, $input: SendMessage!) { sendMessage(room: $room, input: $input) {id} }";
    let edit = "mutation($room: RoomId!, $message: ItemId!, $input: EditMessage!) {
        editMessage(room: $room, message: $message, input: $input) {id} }";
    let (here, nowhere) = (board.id, RoomId::generate());
    let of = |room: Value, input: Value| json!({ "room": room, "input": input });
    let text = || json!({ "text": "hi" });
    for (token, query, variables, expected) in [
        (&alices, "{nothing}", json!({}), "malformed"),
        (&alices, "{me{password}}", json!({}), "malformed"),
        (&alices, "{me}", json!({}), "malformed"),
        (&alices, "{room{id}}", json!({}), "malformed"),
        (&alices, "{room(room: 7){id}}", json!({}), "malformed"),
        (&alices, send, json!({}), "malformed"),
        (&alices, send, of(json!(7), text()), "malformed"),
        (&alices, send, of(json!("plan"), text()), "malformed"),
        (&alices, send, of(json!(here), json!("hi")), "malformed"),
        (
            &alices,
            send,
            of(json!(here), json!({ "text": 7 })),
            "malformed",
        ),
        (
            &alices,
            send,
            of(json!(here), json!({ "text": "hi", "as": "eve" })),
            "malformed",
        ),
        (
            &alices,
            send,
            of(json!(here), json!({ "text": "hi", "opId": "roost.1" })),
            "malformed",
        ),
        (
            &alices,
            send,
            of(json!(here), json!({ "text": " " })),
            "invalid",
        ),
        (
            &alices,
            send,
            of(json!(here), json!({ "text": "x".repeat(40_000) })),
            "too_large",
        ),
        (&alices, send, of(json!(nowhere), text()), "not_found"),
        (&eves, send, of(json!(here), text()), "not_found"),
        (
            &eves,
            "query($room: RoomId!) {messages(room: $room) {next}}",
            json!({ "room": here }),
            "not_found",
        ),
        (
            &eves,
            "query($room: RoomId!) {events(room: $room) {live}}",
            json!({ "room": here }),
            "not_found",
        ),
        (
            &eves,
            "query($room: RoomId!) {presence(room: $room) {userId}}",
            json!({ "room": here }),
            "not_found",
        ),
        (
            &alices,
            edit,
            json!({ "room": here, "message": ItemId::generate(), "input": text() }),
            "not_found",
        ),
        (
            &eves,
            edit,
            json!({ "room": here, "message": hello.id, "input": text() }),
            "not_found",
        ),
        (
            &alices,
            edit,
            json!({ "room": here, "message": hello.id, "input": { "text": "hi", "ifMatch": 1 } }),
            "stale",
        ),
        (
            &alices,
            "{messages(room: \"x\", limit: 1000000){next}}",
            json!({}),
            "malformed",
        ),
        (
            &alices,
            "query($room: RoomId!) {messages(room: $room, limit: 101) {next}}",
            json!({ "room": here }),
            "invalid",
        ),
        (
            &alices,
            "query($room: RoomId!) {messages(room: $room, limit: 0) {next}}",
            json!({ "room": here }),
            "invalid",
        ),
        (
            &alices,
            "query($room: RoomId!) {messages(room: $room, limit: 4000000) {items{id}}}",
            json!({ "room": here }),
            "invalid",
        ),
        (
            &alices,
            "query($room: RoomId!) {messages(room: $room, cursor: \"x\") {next}}",
            json!({ "room": here }),
            "invalid",
        ),
    ] {
        let answer = ask(&server, token, query, variables.clone()).await;
        assert_eq!(code(&answer), expected, "{query} {answer:.300}");
        assert!(answer["errors"][0]["extensions"]["requestId"].is_string());
    }
    assert_eq!(alice.list_events(board.id, None).await.unwrap(), before);
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("access_token_lifetime", "10s")]).await;
    let alice = server.alice().await;
    let phone = alice.sign_in().await;
    let (good, revoked) = (
        alice.signed_in().access_token,
        phone.signed_in().access_token,
    );
    phone.logout().await.unwrap();
    for (token, expected) in [
        ("", "unauthenticated"),
        ("forged", "unauthenticated"),
        ("eyJhbGciOiJub25lIn0.e30.", "unauthenticated"),
        (&good.expose()[..good.expose().len() - 2], "unauthenticated"),
        (revoked.expose(), "session_revoked"),
    ] {
        let answer = ask(&server, token, "{me{id}}", json!({})).await;
        assert_eq!(code(&answer), expected, "{token}");
        let made = "mutation{createBoard(input:{title:\"x\"}){id}}";
        assert_eq!(code(&ask(&server, token, made, json!({})).await), expected);
    }
    let nobody = server.graphql().json(&json!({ "query": "{me{id}}" }));
    let answer: Value = nobody.send().await.unwrap().json().await.unwrap();
    assert_eq!(code(&answer), "unauthenticated");
    assert_eq!(
        ask(&server, good.expose(), "{me{name}}", json!({})).await,
        json!({ "data": { "me": { "name": "alice" } } })
    );
    crate::support::eventually(async || {
        let answer = ask(&server, good.expose(), "{me{name}}", json!({})).await;
        answer.get("errors").is_some() && code(&answer) == "unauthenticated"
    })
    .await;
}

#[tokio::test]
async fn each_root_field_counts_as_a_request_of_its_account() {
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[("account_requests_per_second", "10")])
        .await;
    let alice = server.alice().await;
    let token = token(&alice).await;
    let fields = "me{id} ".repeat(20);
    let answer = ask(&server, &token, &format!("{{{fields}}}"), json!({})).await;
    assert_eq!(code(&answer), "rate_limited");
    assert!(answer["errors"][0]["extensions"]["retryAfterMs"].is_u64());
}

const MESSAGE_BYTES_MAX: u32 = 1 << 20;
/// Close codes of the protocol.
const TRY_LATER: u16 = 1013;
const BAD_MESSAGE: u16 = 4400;

#[tokio::test]
async fn messages_that_have_not_arrived_whole_have_a_share_of_the_memory() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let mut first = Raw::signed_in(&server, &alice).await;
    let mut second = Raw::signed_in(&server, &alice).await;
    first.say_bytes(&unfinished_frame(MESSAGE_BYTES_MAX)).await;
    // The socket whose bytes come last finds no room in the share.
    second.say_bytes(&unfinished_frame(MESSAGE_BYTES_MAX)).await;
    let closed = tokio::select! {
        code = first.closed() => code,
        code = second.closed() => code,
    };
    assert_eq!(closed, TRY_LATER);
    drop((first, second));
    // The share is free again, so a large message that arrives in pieces is accepted.
    eventually(async || {
        let mut socket = Raw::signed_in(&server, &alice).await;
        let text = r#"{"type":"subscribe","id":"1","payload":{"query":"{me{name}}"}}"#;
        let padded = format!("{text}{}", " ".repeat(700_000));
        socket.say_text(&padded).await;
        socket.receive().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn before_it_signs_in_a_socket_says_little() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let guest = async |bytes: u32| {
        let mut socket = Raw::open(&server).await;
        socket.say_bytes(&unfinished_frame(bytes)).await;
        socket.closed().await
    };
    assert_eq!(guest(16 * 1_024 + 1).await, BAD_MESSAGE);
    // A message that is too long is refused by its first bytes, also after signing in.
    let mut socket = Raw::signed_in(&server, &alice).await;
    let begun = &unfinished_frame(MESSAGE_BYTES_MAX + 1)[..20];
    socket.say_bytes(begun).await;
    assert_eq!(socket.closed().await, BAD_MESSAGE);
    let mut socket = Raw::open(&server).await;
    let init = format!(
        r#"{{"type":"connection_init","payload":{{"Authorization":"Bearer {}"}}}}"#,
        token(&alice).await
    );
    socket.say_text(&format!("{init:16384}")).await;
    assert_eq!(
        socket.receive().await,
        Ok(json!({ "type": "connection_ack" }))
    );
}

#[tokio::test]
async fn operations_count_with_what_they_were_asked_with_as_long_as_they_run() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let mut socket = Raw::signed_in(&server, &alice).await;
    let query = "subscription($room: RoomId!) { roomEvents(room: $room) { position } }";
    let large = json!({ "room": room, "unused": "x".repeat(500_000) });
    for id in ["1", "2"] {
        socket.subscribe(id, query, large.clone()).await;
        assert_eq!(socket.receive().await.unwrap()["type"], "next");
    }
    // A third request finds no room in the share while two run.
    socket.subscribe("3", query, large.clone()).await;
    assert_eq!(socket.closed().await, TRY_LATER);
    // The operations have ended with their socket, so the share is free again.
    in_time(async {
        loop {
            let mut next = Raw::signed_in(&server, &alice).await;
            next.subscribe("1", query, large.clone()).await;
            if next
                .receive()
                .await
                .is_ok_and(|message| message["type"] == "next")
            {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_ping_brings_little_to_be_said_again() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let mut socket = Raw::signed_in(&server, &alice).await;
    let ping = |bytes| json!({ "type": "ping", "payload": { "x": "x".repeat(bytes) } });
    socket.say(ping(500)).await;
    assert_eq!(socket.receive().await.unwrap()["type"], "pong");
    socket.say(ping(1_100)).await;
    assert_eq!(socket.closed().await, BAD_MESSAGE);
}
