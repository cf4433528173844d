//! Hostile input: the documented error, no crash, no effect.

use super::{
    client::{Heard, Mode, Socket, polling_handshake, polling_url, post, websocket},
    fixture::{DEADLINE, Fixture, Person, join},
};
use crate::support::{eventually, in_time, rest_of, unfinished_frame, unfinished_post};
use futures::{SinkExt, StreamExt};
use roost_schema::RoomId;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_payload_gets_an_answer() {
    let fixture = Fixture::build().await;
    let (alice, eve) = (fixture.person("alice").await, fixture.person("eve").await);
    let room = fixture.board(&[&alice]).await;
    for mode in [Mode::WebSocket, Mode::Polling] {
        let mut socket = fixture.connect(mode, &eve).await;
        for (number, (event, code)) in wrong_events(room).into_iter().enumerate() {
            let number = 1_000 + number as u64;
            socket.say(format!("42{number}{event}"));
            let answer = socket.ack(number).await;
            assert_eq!(answer["error"]["code"], code, "{mode:?} {event}: {answer}");
            assert!(answer["error"]["message"].is_string(), "{answer}");
            // An event without an acknowledgement number gets no reply.
            socket.say(format!("42{event}"));
        }
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        socket.say(format!(r#"422000["item:put",{deep}]"#));
        assert_eq!(socket.ack(2_000).await["error"]["code"], "malformed");
        let long = "x".repeat(40_000);
        let answer = socket
            .call("message:send", &json!({ "room": room, "text": long }))
            .await;
        assert!(answer["error"].is_object(), "{answer}");
    }
    let log = fixture
        .app
        .list_events(&alice.actor, room, None)
        .await
        .unwrap();
    let messages = log
        .events
        .iter()
        .filter(|event| event.kind == roost_schema::Kind::Message);
    assert_eq!(messages.count(), 0);
    fixture.stop().await;
}

/// Invalid events, and the error code of each reply.
fn wrong_events(room: RoomId) -> Vec<(Value, &'static str)> {
    let nowhere = RoomId::generate();
    vec![
        (json!(["message:send"]), "malformed"),
        (json!(["message:send", null]), "malformed"),
        (json!(["message:send", "hi"]), "malformed"),
        (json!(["message:send", []]), "malformed"),
        (json!(["message:send", { "room": room }]), "malformed"),
        (
            json!(["message:send", { "room": 7, "text": "hi" }]),
            "malformed",
        ),
        (
            json!(["message:send", { "room": room, "text": "hi", "as": "alice" }]),
            "malformed",
        ),
        (
            json!(["message:send", { "room": room, "text": "hi" }, {}]),
            "malformed",
        ),
        (
            json!(["message:send", { "room": room, "text": "hi" }]),
            "not_found",
        ),
        (
            json!(["message:send", { "room": nowhere, "text": "hi" }]),
            "not_found",
        ),
        (json!(["room:join", { "room": room }]), "not_found"),
        (json!(["room:join", { "room": nowhere }]), "not_found"),
        (
            json!(["room:join", { "room": room, "after": "here" }]),
            "malformed",
        ),
        (
            json!(["cursor:move", { "room": room, "x": "left", "y": 0 }]),
            "malformed",
        ),
        (
            json!(["auth:refresh", { "token": "forged" }]),
            "unauthenticated",
        ),
        (json!(["launch:missiles", {}]), "malformed"),
        (json!(["launch:missiles"]), "malformed"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_packets_end_only_their_own_socket() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    let mut calm = fixture.connect(Mode::WebSocket, &alice).await;
    join(&mut calm, room).await;
    let packets = [
        "",
        "9",
        "4",
        "4x",
        "42",
        "42[",
        "42[7]",
        "42{}",
        "42/nowhere,[\"a\"]",
        "451-",
        "45999999999999-[\"a\"]",
        "4299999999999999999999[\"a\"]",
        "40/nowhere,{}",
        "4\u{fffd}é",
        "b!",
        "2probe",
        "5",
    ];
    for packet in packets {
        for mode in [Mode::WebSocket, Mode::Polling] {
            let socket = fixture.connect(mode, &alice).await;
            socket.say(packet);
        }
    }
    fixture.send(&alice, room, "still here").await;
    assert_eq!(calm.messages(1).await, ["still here"]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_its_limit_ends_the_socket() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    let large = json!(["message:send", { "room": room, "text": "x".repeat(1 << 20) }]);
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    socket.say(format!("421{large}"));
    assert_eq!(socket.end(DEADLINE).await, Heard::Closed);

    let sid = polling_handshake(fixture.address).await;
    let http = reqwest::Client::new();
    let url = polling_url(fixture.address, &sid);
    let sent = http.post(&url).body(format!("421{large}")).send().await;
    assert_eq!(sent.unwrap().status(), 413);
    assert!(
        post(&http, &url, "3".to_owned()).await,
        "the session lives on"
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_asks_within_its_budget() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    let room = RoomId::generate();
    let mut limited = 0;
    // Enough commands to exceed the budget. Each batch is awaited, because the transport's pongs queue behind it.
    for _ in 0..40 {
        let numbers: Vec<u64> = (0..250)
            .map(|_| socket.emit("room:leave", &json!({ "room": room })))
            .collect();
        for number in numbers {
            let answer = socket.ack(number).await;
            if answer["error"]["code"] == "rate_limited" {
                assert!(answer["error"]["retryAfterMs"].as_u64().unwrap() > 0);
                limited += 1;
            }
        }
        if limited > 0 {
            break;
        }
    }
    assert!(limited > 0, "10,000 in a row are more than the budget");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_asks_and_never_reads_is_closed() {
    let fixture = Fixture::build().await;
    let eve = fixture.person("eve").await;
    let mut deaf = fixture.connect(Mode::Polling, &eve).await;
    deaf.read(false);
    for _ in 0..6_000 {
        deaf.emit("room:leave", &json!({ "room": RoomId::generate() }));
    }
    assert_eq!(deaf.end(DEADLINE).await, Heard::Closed);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_in_128_rooms_at_most() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    let mut rooms = Vec::new();
    for _ in 0..128 {
        let room = fixture.board(&[&alice]).await;
        join(&mut socket, room).await;
        rooms.push(room);
    }
    let one_more = fixture.board(&[&alice]).await;
    let answer = socket.call("room:join", &json!({ "room": one_more })).await;
    assert_eq!(answer["error"]["code"], "limit_reached");
    join(&mut socket, rooms[0]).await;
    socket
        .call("room:leave", &json!({ "room": rooms[1] }))
        .await;
    join(&mut socket, one_more).await;
    fixture.stop().await;
}

const MESSAGE_BYTES_MAX: u32 = 1 << 20;
const GUEST_BYTES_MAX: u32 = 16 * 1_024;

/// A signed-in WebSocket, to which bytes are written without framing.
async fn signed_in(fixture: &Fixture, person: &Person) -> WebSocketStream<TcpStream> {
    let mut socket = websocket(fixture.address, "").await;
    let connect = format!("40{}", json!({ "token": person.token }));
    socket.send(Message::text(connect)).await.unwrap();
    while !next_text(&mut socket)
        .await
        .is_some_and(|text| text.starts_with("40"))
    {}
    socket
}

/// The next text; `None` when the transport ended.
async fn next_text(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    loop {
        match timeout(DEADLINE, socket.next()).await.expect("in time") {
            Some(Ok(Message::Text(text))) => return Some(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

/// The code of `server:closing`, if it came before the transport ended.
async fn closing(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    let mut code = None;
    while let Some(text) = next_text(socket).await {
        if let Some(event) = text.strip_prefix("42") {
            let event: Value = serde_json::from_str(event).unwrap();
            if event[0] == "server:closing" {
                code = event[1]["code"].as_str().map(str::to_owned);
            }
        }
    }
    code
}

async fn say(socket: &mut WebSocketStream<TcpStream>, bytes: &[u8]) {
    // The server may close the socket before all bytes are sent.
    let _ = socket.get_mut().write_all(bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_have_not_arrived_whole_have_a_share_of_the_memory() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    let mut calm = fixture.connect(Mode::WebSocket, &alice).await;
    join(&mut calm, room).await;
    let mut first = signed_in(&fixture, &alice).await;
    let mut second = signed_in(&fixture, &alice).await;
    say(&mut first, &unfinished_frame(MESSAGE_BYTES_MAX)).await;
    say(&mut second, &unfinished_frame(MESSAGE_BYTES_MAX)).await;
    let code = tokio::select! {
        code = closing(&mut first) => code,
        code = closing(&mut second) => code,
    };
    assert_eq!(code.as_deref(), Some("overloaded"));
    fixture.send(&alice, room, "still here").await;
    assert_eq!(calm.messages(1).await, ["still here"]);
    drop((first, second));
    // The share is free again. A message that is too long is refused by its first bytes.
    eventually(async || {
        let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
        let text = "x".repeat(900_000);
        let answer = socket
            .call_or_end("item:put", &json!({ "text": text }))
            .await;
        answer.is_some_and(|answer| answer["error"]["code"] == "malformed")
    })
    .await;
    let mut socket = signed_in(&fixture, &alice).await;
    say(&mut socket, &unfinished_frame(MESSAGE_BYTES_MAX + 1)[..20]).await;
    assert_eq!(closing(&mut socket).await.as_deref(), Some("too_large"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_it_signs_in_a_session_says_little() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let mut guest = websocket(fixture.address, "").await;
    say(&mut guest, &unfinished_frame(GUEST_BYTES_MAX + 1)).await;
    assert_eq!(closing(&mut guest).await, None);

    // An event is incomplete until its attachment arrives, so the server would have to keep the event until then.
    let mut socket = signed_in(&fixture, &alice).await;
    let packet = r#"451-["message:send",{"_placeholder":true,"num":0}]"#;
    socket.send(Message::text(packet)).await.unwrap();
    assert_eq!(closing(&mut socket).await, None);

    let http = reqwest::Client::new();
    let sid = polling_handshake(fixture.address).await;
    let url = polling_url(fixture.address, &sid);
    let send = async |bytes: u32| {
        let body = "x".repeat(bytes as usize);
        http.post(&url).body(body).send().await.unwrap().status()
    };
    assert_eq!(send(GUEST_BYTES_MAX + 1).await, 413);
    // A request with an unknown session id is refused before its body arrives, and so is a body that finds no room in
    // the share.
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let unknown = "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA";
    let mut stream = unfinished_post((from, fixture.address), unknown, "", 1 << 20).await;
    let answer = in_time(rest_of(&mut stream)).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    let socket = Socket::connect(fixture.address, Mode::Polling, &alice.token).await;
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", socket.sid);
    let mut one = unfinished_post((from, fixture.address), &path, "", 1 << 20).await;
    let mut two = unfinished_post((from, fixture.address), &path, "", 1 << 20).await;
    let answer = tokio::select! {
        answer = rest_of(&mut one) => answer,
        answer = rest_of(&mut two) => answer,
    };
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    fixture.stop().await;
}
