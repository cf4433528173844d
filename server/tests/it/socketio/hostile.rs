//! Input nobody should send: the documented error, no crash, no effect.

use super::{
    client::{Heard, Mode, polling_handshake, polling_url, post},
    house::{DEADLINE, House, join},
};
use roost_schema::RoomId;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_payload_gets_an_answer() {
    let house = House::build().await;
    let (alice, eve) = (house.person("alice").await, house.person("eve").await);
    let room = house.board(&[&alice]).await;
    for mode in [Mode::WebSocket, Mode::Polling] {
        let mut socket = house.connect(mode, &eve).await;
        for (number, (event, code)) in wrong_events(room).into_iter().enumerate() {
            let number = 1_000 + number as u64;
            socket.say(format!("42{number}{event}"));
            let answer = socket.ack(number).await;
            assert_eq!(answer["error"]["code"], code, "{mode:?} {event}: {answer}");
            assert!(answer["error"]["message"].is_string(), "{answer}");
            // Without a number there is nobody to answer.
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
        socket.say(r#"451-2001["message:send",{"_placeholder":true,"num":0}]"#);
        socket.say("bAAAA");
        if mode == Mode::Polling {
            assert_eq!(socket.ack(2_001).await["error"]["code"], "malformed");
        }
    }
    let log = house
        .app
        .list_events(&alice.actor, room, None)
        .await
        .unwrap();
    let messages = log
        .events
        .iter()
        .filter(|event| event.kind == roost_schema::Kind::Message);
    assert_eq!(messages.count(), 0);
    house.stop().await;
}

/// Events nobody should send, and the code of each answer.
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
    let house = House::build().await;
    let alice = house.person("alice").await;
    let room = house.board(&[&alice]).await;
    let mut calm = house.connect(Mode::WebSocket, &alice).await;
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
            let socket = house.connect(mode, &alice).await;
            socket.say(packet);
        }
    }
    house.send(&alice, room, "still here").await;
    assert_eq!(calm.messages(1).await, ["still here"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_its_limit_ends_the_socket() {
    let house = House::build().await;
    let alice = house.person("alice").await;
    let room = house.board(&[&alice]).await;
    let large = json!(["message:send", { "room": room, "text": "x".repeat(1 << 20) }]);
    let mut socket = house.connect(Mode::WebSocket, &alice).await;
    socket.say(format!("421{large}"));
    assert_eq!(socket.end(DEADLINE).await, Heard::Closed);

    let sid = polling_handshake(house.address).await;
    let http = reqwest::Client::new();
    let url = polling_url(house.address, &sid);
    let sent = http.post(&url).body(format!("421{large}")).send().await;
    assert_eq!(sent.unwrap().status(), 413);
    assert!(
        post(&http, &url, "3".to_owned()).await,
        "the session lives on"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_asks_within_its_budget() {
    let house = House::build().await;
    let alice = house.person("alice").await;
    let mut socket = house.connect(Mode::WebSocket, &alice).await;
    let room = RoomId::generate();
    let mut limited = 0;
    // As many as it takes; answered one after the other, for the transport's pongs stand behind them.
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
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_asks_and_never_reads_is_closed() {
    let house = House::build().await;
    let eve = house.person("eve").await;
    let mut deaf = house.connect(Mode::Polling, &eve).await;
    deaf.read(false);
    for _ in 0..6_000 {
        deaf.emit("room:leave", &json!({ "room": RoomId::generate() }));
    }
    assert_eq!(deaf.end(DEADLINE).await, Heard::Closed);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_in_128_rooms_at_most() {
    let house = House::build().await;
    let alice = house.person("alice").await;
    let mut socket = house.connect(Mode::WebSocket, &alice).await;
    let mut rooms = Vec::new();
    for _ in 0..128 {
        let room = house.board(&[&alice]).await;
        join(&mut socket, room).await;
        rooms.push(room);
    }
    let one_more = house.board(&[&alice]).await;
    let answer = socket.call("room:join", &json!({ "room": one_more })).await;
    assert_eq!(answer["error"]["code"], "limit_reached");
    join(&mut socket, rooms[0]).await;
    socket
        .call("room:leave", &json!({ "room": rooms[1] }))
        .await;
    join(&mut socket, one_more).await;
    house.stop().await;
}
