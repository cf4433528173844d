//! Requests that take effect once, or only on an unchanged resource: `Idempotency-Key`, `ETag`, `If-Match`.

use super::{answered, header, json, refused};
use crate::support::{Person, Server, World, alone_and_on_clusters, message};
use reqwest::{Method, RequestBuilder};
use roost_schema::{Direction, ErrorCode, Message, PageQuery, RoomId};
use serde_json::json;

alone_and_on_clusters!(
    what_is_made_says_where_it_is,
    a_key_has_one_effect,
    every_write_takes_a_key,
    a_change_is_made_only_on_the_version_that_was_read,
    what_the_reader_has_already_is_not_sent_again,
);

async fn scene(world: &World) -> (Server, Person, RoomId) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    (server, alice, room)
}

async fn what_is_made_says_where_it_is(world: World) {
    let (_server, alice, room) = scene(&world).await;
    let messages = format!("/api/v1/rooms/{room}/messages");
    let made = [
        (messages.as_str(), json!({ "text": "hello" })),
        ("/api/v1/boards", json!({ "title": "Other" })),
    ];
    for (path, body) in made {
        let answer = answered(alice.ask(Method::POST, path).await.json(&body), 201).await;
        let location = header(&answer, "location").to_owned();
        let body: serde_json::Value = answer.json().await.unwrap();
        let found = json(alice.ask(Method::GET, &location).await, 200).await;
        assert_eq!(found, body);
    }
}

async fn a_key_has_one_effect(world: World) {
    let (_server, alice, room) = scene(&world).await;
    let messages = format!("/api/v1/rooms/{room}/messages");
    let send = async |key: &str, body: serde_json::Value| {
        let request = alice.ask(Method::POST, &messages).await;
        request.header("idempotency-key", key).json(&body)
    };
    let hello = || json!({ "text": "hello" });
    let first = json(send("k-1", hello()).await, 201).await;
    // The same request again, then with its key as a quoted structured field.
    assert_eq!(json(send("k-1", hello()).await, 201).await, first);
    assert_eq!(json(send("\"k-1\"", hello()).await, 201).await, first);
    let both = json!({ "text": "hello", "opId": "k-1" });
    assert_eq!(json(send("k-1", both).await, 201).await, first);

    let differing = json!({ "text": "hello", "opId": "k-2" });
    for (key, body, code) in [
        ("k-1", json!({ "text": "other" }), ErrorCode::OpIdReused),
        ("k-1", differing, ErrorCode::Malformed),
        ("a b", hello(), ErrorCode::Malformed),
        ("\"k-1", hello(), ErrorCode::Malformed),
        ("", hello(), ErrorCode::Malformed),
        ("roost.1", hello(), ErrorCode::Malformed),
        (&"x".repeat(65), hello(), ErrorCode::Malformed),
    ] {
        assert_eq!(refused(send(key, body).await).await, code, "{key}");
    }
    let twice = send("k-3", hello()).await.header("idempotency-key", "k-4");
    assert_eq!(refused(twice).await, ErrorCode::Malformed);
    assert_eq!(texts(&alice, room).await, ["hello"]);
}

async fn every_write_takes_a_key(world: World) {
    let (server, alice, room) = scene(&world).await;
    let bob = server.bob().await;
    let message = alice.send_message(room, &message("hello")).await.unwrap();
    let room = format!("/api/v1/rooms/{room}");
    let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    let member = format!("{room}/members/{}", bob.id());
    let message = format!("{room}/messages/{}", message.id);
    let writes = [
        (
            post.clone(),
            "/api/v1/boards".to_owned(),
            json!({ "title": "Once" }),
        ),
        (
            post.clone(),
            "/api/v1/conversations".to_owned(),
            json!({ "userIds": [bob.id()], "title": "Once" }),
        ),
        (patch.clone(), room.clone(), json!({ "title": "Twice" })),
        (
            post,
            format!("{room}/members"),
            json!({ "userId": bob.id(), "role": "viewer" }),
        ),
        (patch.clone(), member.clone(), json!({ "role": "editor" })),
        (delete.clone(), member, json!(null)),
        (patch, message.clone(), json!({ "text": "Once" })),
        (delete, message, json!(null)),
    ];
    for (number, (method, path, body)) in writes.into_iter().enumerate() {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let request = alice.ask(method.clone(), &path).await;
            let request = request.header("idempotency-key", format!("w-{number}"));
            let request = if body.is_null() {
                request
            } else {
                request.json(&body)
            };
            let answer = request.send().await.unwrap();
            assert!(
                answer.status().is_success(),
                "{method} {path}: {}",
                answer.status()
            );
            answers.push((answer.status(), answer.text().await.unwrap()));
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
}

async fn a_change_is_made_only_on_the_version_that_was_read(world: World) {
    let (_server, alice, room) = scene(&world).await;
    let sent = alice.send_message(room, &message("hello")).await.unwrap();
    let path = format!("/api/v1/rooms/{room}/messages/{}", sent.id);
    let edit = async |tag: &str| -> RequestBuilder {
        let request = alice.ask(Method::PATCH, &path).await;
        request
            .header("if-match", tag)
            .json(&json!({ "text": "hello there" }))
    };
    let first = format!("\"{}\"", sent.seq);
    let answer = answered(edit(&first).await, 200).await;
    let second = header(&answer, "etag").to_owned();
    let edited: Message = answer.json().await.unwrap();
    assert_eq!(second, format!("\"{}\"", edited.seq));

    let weak = format!("W/{second}");
    let unquoted = edited.seq.to_string();
    let list = format!("{first}, {second}");
    for (tag, code) in [
        (first.as_str(), ErrorCode::Stale),
        (&weak, ErrorCode::Stale),
        ("\"abc\"", ErrorCode::Stale),
        (&unquoted, ErrorCode::Malformed),
        (&list, ErrorCode::Malformed),
        ("", ErrorCode::Malformed),
    ] {
        assert_eq!(refused(edit(tag).await).await, code, "{tag}");
        let delete = alice
            .ask(Method::DELETE, &path)
            .await
            .header("if-match", tag);
        assert_eq!(refused(delete).await, code, "{tag}");
    }
    answered(edit("*").await, 200).await;
    let delete = alice
        .ask(Method::DELETE, &path)
        .await
        .header("if-match", "*");
    answered(delete, 204).await;
    assert_eq!(refused(edit("*").await).await, ErrorCode::NotFound);
}

async fn what_the_reader_has_already_is_not_sent_again(world: World) {
    let (_server, alice, room) = scene(&world).await;
    let sent = alice.send_message(room, &message("hello")).await.unwrap();
    let path = format!("/api/v1/rooms/{room}/messages/{}", sent.id);
    let answer = answered(alice.ask(Method::GET, &path).await, 200).await;
    let tag = header(&answer, "etag").to_owned();
    let read = async |known: &str| {
        alice
            .ask(Method::GET, &path)
            .await
            .header("if-none-match", known)
    };
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"0\", {tag}"),
        "*".into(),
    ] {
        let answer = answered(read(&known).await, 304).await;
        assert_eq!(header(&answer, "etag"), tag);
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    for other in ["\"0\"", "nonsense", ""] {
        answered(read(other).await, 200).await;
    }
}

async fn texts(person: &Person, room: RoomId) -> Vec<String> {
    let page = person
        .list_messages(room, Direction::default(), &PageQuery::default())
        .await
        .unwrap();
    page.items.into_iter().map(|message| message.text).collect()
}
