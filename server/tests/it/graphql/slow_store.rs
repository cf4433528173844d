//! Operations while a store does not answer for a while.

use super::websocket::Raw;
use crate::support::{World, message};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than the time between two pings, and shorter than the time after which the socket would be closed.
const STALL: Duration = Duration::from_secs(14);
const MESSAGES: u64 = 30;
/// All messages together are more than memory holds.
const MESSAGE_BYTES: usize = 30_000;

#[tokio::test]
async fn a_subscription_waits_is_pinged_meanwhile_and_misses_nothing() {
    let world = World::on_postgres().await;
    let (proxy, server) = world.serve_one_by_proxy().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let first = alice.list_events(room, None).await.unwrap().position;
    let text = "x".repeat(MESSAGE_BYTES);
    for _ in 0..MESSAGES {
        alice.send_message(room, &message(&text)).await.unwrap();
    }
    let mut socket = Raw::signed_in(&server, &alice).await;
    proxy.freeze();
    let query = "subscription($room: RoomId!, $after: Position) {
        roomEvents(room: $room, after: $after) { events { seq } }
    }";
    let variables = json!({ "room": room, "after": first });
    socket.subscribe("1", query, variables).await;
    assert!(socket.pings_within(STALL).await > 0);

    proxy.mend();
    let mut seq = first.seq.0;
    while seq < first.seq.0 + MESSAGES {
        let message = socket.receive().await.unwrap();
        let events = &message["payload"]["data"]["roomEvents"]["events"];
        for event in events.as_array().unwrap() {
            assert_eq!(event["seq"].as_u64(), Some(seq + 1));
            seq += 1;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_beside_a_write_does_not_say_that_nothing_was_written() {
    let world = World::on_cluster().await;
    let (proxy, server) = world.serve_one_by_proxy().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    alice.send_message(room, &message("first")).await.unwrap();
    proxy.refuse();
    let query = "mutation($room: RoomId!, $input: SendMessage!) {
        sendMessage(room: $room, input: $input) { id author { name } }
    }";
    let body =
        json!({ "query": query, "variables": { "room": room, "input": { "text": "second" } } });
    let request = alice.ask(Method::POST, "/graphql").await.json(&body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    proxy.mend();
    let written = &answer["data"]["sendMessage"];
    assert!(
        written["id"].is_string() && written["author"].is_null(),
        "{answer}"
    );
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "unavailable", "{answer}");
    let sentence = error["message"].as_str().unwrap();
    assert!(!sentence.contains("wrote nothing"), "{sentence}");
}
