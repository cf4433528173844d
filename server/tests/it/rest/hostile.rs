//! Hostile requests: the documented error, no crash, no effect.

use super::{answered, refused};
use crate::support::{Person, Server, World};
use reqwest::Method;
use roost_schema::{ErrorCode, PageQuery, RoomId, SessionId};
use serde_json::json;

async fn scene() -> (World, Server, Person, RoomId) {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    (world, server, alice, room)
}

#[tokio::test]
async fn a_body_that_cannot_be_read_has_no_effect() {
    let (_world, _server, alice, room) = scene().await;
    let before = alice.list_events(room, None).await.unwrap();
    let path = format!("/api/v1/rooms/{room}/messages");
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let bodies: [&[u8]; 14] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"text\"",
        b"{\"text\": 7}",
        b"{\"text\": null}",
        b"{\"text\": [\"hello\"]}",
        b"{}",
        b"{\"text\": \"hello\", \"admin\": true}",
        b"{\"text\": \"hello\", \"text\": \"twice\"}",
        b"{\"text\": \"hello\"} {}",
        b"{\"text\": \"\xff\xfe\"}",
        nested.as_bytes(),
    ];
    for body in bodies {
        let request = alice.ask(Method::POST, &path).await;
        let request = request.header("content-type", "application/json");
        let code = refused(request.body(body.to_vec())).await;
        assert_eq!(
            code,
            ErrorCode::Malformed,
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        let request = alice.ask(Method::POST, &path).await;
        let request = request
            .header("content-type", wrong)
            .body("{\"text\": \"hello\"}");
        assert_eq!(
            refused(request).await,
            ErrorCode::UnsupportedMediaType,
            "{wrong}"
        );
    }
    let after = alice.list_events(room, None).await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_value_that_breaks_a_rule_has_no_effect() {
    let (_world, _server, alice, room) = scene().await;
    let before = alice.list_events(room, None).await.unwrap();
    let messages = format!("/api/v1/rooms/{room}/messages");
    let long = "é".repeat(16 * 1_024 + 1);
    let not_version_7 = "8c5a6f6e-6f0a-4a35-9c1f-2f2a5f1a0c11";
    for (body, code) in [
        (json!({ "text": "" }), ErrorCode::Invalid),
        (json!({ "text": " \n\u{2003}" }), ErrorCode::Invalid),
        (json!({ "text": "a\0b" }), ErrorCode::Invalid),
        (json!({ "text": long }), ErrorCode::TooLarge),
        (
            json!({ "text": "hello", "id": not_version_7 }),
            ErrorCode::Invalid,
        ),
        (json!({ "text": "hello", "id": "7" }), ErrorCode::Malformed),
        (
            json!({ "text": "hello", "opId": "a b" }),
            ErrorCode::Malformed,
        ),
    ] {
        let request = alice.ask(Method::POST, &messages).await.json(&body);
        assert_eq!(refused(request).await, code);
    }
    let rooms = alice.list_rooms(&PageQuery::default()).await.unwrap();
    for title in ["", " ", "a\u{7}b", &"x".repeat(201)] {
        let request = alice.ask(Method::POST, "/api/v1/boards").await;
        let request = request.json(&json!({ "title": title }));
        assert_eq!(refused(request).await, ErrorCode::Invalid, "{title:?}");
    }
    assert_eq!(
        alice.list_rooms(&PageQuery::default()).await.unwrap(),
        rooms
    );
    assert_eq!(alice.list_events(room, None).await.unwrap(), before);
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_the_server_goes_on() {
    let (_world, _server, alice, room) = scene().await;
    let path = format!("/api/v1/rooms/{room}/messages");
    let body = json!({ "text": "x".repeat(1_024 * 1_024) });
    let request = alice.ask(Method::POST, &path).await.json(&body);
    assert_eq!(refused(request).await, ErrorCode::TooLarge);
    answered(alice.ask(Method::GET, "/api/v1/me").await, 200).await;
}

#[tokio::test]
async fn a_path_or_query_that_cannot_be_read_says_so() {
    let (_world, _server, alice, room) = scene().await;
    for path in [
        "/api/v1/rooms/plan".to_owned(),
        "/api/v1/rooms/%00".to_owned(),
        "/api/v1/rooms/%ff".to_owned(),
        format!("/api/v1/rooms/{room}/messages/1"),
        format!("/api/v1/rooms/{room}/messages?limit=many"),
        format!("/api/v1/rooms/{room}/messages?limit=-1"),
        format!("/api/v1/rooms/{room}/messages?limit=1&limit=2"),
        format!("/api/v1/rooms/{room}/messages?direction=up"),
        format!("/api/v1/rooms/{room}/messages?page=2"),
        format!("/api/v1/rooms/{room}/events?after=yesterday"),
        format!("/api/v1/rooms/{room}/stream?after=0"),
        "/api/v1/users/search".to_owned(),
        "/api/v1/boards?%ff=1".to_owned(),
    ] {
        let request = alice.ask(Method::GET, &path).await;
        assert_eq!(refused(request).await, ErrorCode::Malformed, "{path}");
    }
    for path in [
        "/api/v1/boards?limit=0".to_owned(),
        "/api/v1/boards?limit=101".to_owned(),
        "/api/v1/boards?cursor=nonsense".to_owned(),
        format!("/api/v1/rooms/{room}/members?cursor=nonsense"),
        format!("/api/v1/rooms/{room}/messages?cursor=nonsense"),
        "/api/v1/users/search?query=a".to_owned(),
        "/api/v1/users/search?query=a%00b".to_owned(),
    ] {
        let request = alice.ask(Method::GET, &path).await;
        assert_eq!(refused(request).await, ErrorCode::Invalid, "{path}");
    }
    let elsewhere = format!("/api/v1/rooms/{room}/events?after=abc.1");
    let request = alice.ask(Method::GET, &elsewhere).await;
    assert_eq!(refused(request).await, ErrorCode::ReloadRequired);
}

#[tokio::test]
async fn what_is_not_there_or_not_yours_is_not_found() {
    let (_world, server, alice, room) = scene().await;
    let bob = server.bob().await;
    let unknown = RoomId::generate();
    // Even the owner of a board does not learn of another person's own room.
    let personal = RoomId::of_user(bob.id());
    for hidden in [unknown, personal] {
        for path in [
            "",
            "/members",
            "/messages",
            "/events",
            "/stream",
            "/presence",
        ] {
            let path = format!("/api/v1/rooms/{hidden}{path}");
            let request = alice.ask(Method::GET, &path).await;
            assert_eq!(refused(request).await, ErrorCode::NotFound, "{path}");
        }
        let path = format!("/api/v1/rooms/{hidden}/messages");
        let request = alice.ask(Method::POST, &path).await;
        let request = request.json(&json!({ "text": "hello" }));
        assert_eq!(refused(request).await, ErrorCode::NotFound);
    }
    for path in [
        format!("/api/v1/rooms/{room}/messages/{unknown}"),
        format!("/api/v1/rooms/{room}/nothing"),
        "/api/v1/nothing".to_owned(),
        "/api/v2/me".to_owned(),
        "/api/v1/me/".to_owned(),
    ] {
        let request = alice.ask(Method::GET, &path).await;
        assert_eq!(refused(request).await, ErrorCode::NotFound, "{path}");
    }
    let session = format!("/api/v1/me/sessions/{}", SessionId::generate());
    let request = alice.ask(Method::DELETE, &session).await;
    assert_eq!(refused(request).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_told_which_it_does() {
    let (_world, _server, alice, _room) = scene().await;
    let answer = alice
        .ask(Method::PUT, "/api/v1/boards")
        .await
        .send()
        .await
        .unwrap();
    let allowed: Vec<&str> = answer.headers()["allow"]
        .to_str()
        .unwrap()
        .split(',')
        .collect();
    assert!(
        allowed.contains(&"GET") && allowed.contains(&"POST"),
        "{allowed:?}"
    );
    let request = alice.ask(Method::PUT, "/api/v1/boards").await;
    assert_eq!(refused(request).await, ErrorCode::MethodNotAllowed);
}

#[tokio::test]
async fn a_wait_is_told_in_the_header_and_in_the_body() {
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[("account_requests_per_second", "1")])
        .await;
    let alice = server.alice().await;
    let mut refusals = Vec::new();
    for _ in 0..20 {
        let answer = alice
            .ask(Method::GET, "/api/v1/me")
            .await
            .send()
            .await
            .unwrap();
        if answer.status() == 429 {
            refusals.push(answer);
        }
    }
    let answer = refusals.pop().expect("one account asked too often");
    let seconds: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let problem: serde_json::Value = answer.json().await.unwrap();
    let millis = problem["retryAfterMs"].as_u64().unwrap();
    assert_eq!(problem["code"], "rate_limited");
    assert_eq!(seconds, millis.div_ceil(1_000).max(1));
}
