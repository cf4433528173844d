//! The commands and events of sockets, on each transport.

use super::{
    client::{Heard, Mode, Socket},
    fixture::{DEADLINE, Fixture, join},
};
use crate::support::{World, alone_and_on_clusters};
use roost_schema::{ItemId, RoomId};
use serde_json::{Value, json};
use std::{collections::VecDeque, time::Duration};

alone_and_on_clusters!(
    alice_sends_and_bob_watches,
    messages_of_one_socket_keep_their_order,
    an_event_right_after_connecting_is_heard,
    a_member_resumes_where_it_left,
    items_are_put_and_deleted,
    people_see_each_other_come_move_and_go,
    a_removed_member_is_told_and_gets_nothing_more,
    a_revoked_session_ends_its_sockets_for_good,
    a_socket_renews_its_access_or_closes,
    a_socket_that_left_may_connect_again,
    a_person_hears_of_logins_and_sessions,
    a_stopping_server_sends_its_sockets_elsewhere,
);

const MODES: [Mode; 3] = [Mode::WebSocket, Mode::Polling, Mode::Upgrade];

async fn alice_sends_and_bob_watches(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let (alice, bob) = (fixture.person("alice").await, fixture.person("bob").await);
    let room = fixture.board(&[&alice, &bob]).await;
    for mode in MODES {
        let mut sender = fixture.connect(mode, &alice).await;
        let mut watcher = fixture.connect(mode, &bob).await;
        let joined = join(&mut watcher, room).await;
        assert_eq!(joined["role"], "editor");
        let message = sender
            .call("message:send", &json!({ "room": room, "text": "hi" }))
            .await;
        assert_eq!(message["text"], "hi", "{mode:?}: {message}");
        assert_eq!(watcher.messages(1).await, ["hi"], "{mode:?}");
    }
    fixture.stop().await;
}

async fn messages_of_one_socket_keep_their_order(world: World) {
    const COUNT: usize = 2_000;
    /// Fewer than the room's mailbox holds.
    const WINDOW: usize = 400;
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    let joined = join(&mut socket, room).await;
    let mut pending = VecDeque::new();
    for number in 0..COUNT {
        let message = json!({ "room": room, "text": number.to_string() });
        pending.push_back(socket.emit("message:send", &message));
        if pending.len() == WINDOW {
            acknowledged(&mut socket, pending.pop_front()).await;
        }
    }
    while !pending.is_empty() {
        acknowledged(&mut socket, pending.pop_front()).await;
    }
    let mut reader = fixture.connect(Mode::WebSocket, &alice).await;
    let resume = json!({ "room": room, "after": joined["position"] });
    reader.call("room:join", &resume).await;
    let texts = reader.messages(COUNT).await;
    let inversions = texts
        .iter()
        .enumerate()
        .filter(|(at, text)| **text != at.to_string());
    assert_eq!(inversions.count(), 0);
    fixture.stop().await;
}

async fn acknowledged(socket: &mut Socket, number: Option<u64>) {
    let answer = socket.ack(number.unwrap()).await;
    assert!(answer["text"].is_string(), "{answer}");
}

/// The connect packet and an event arrive together: a server that registers its handlers after it has confirmed the
/// connection loses such events.
async fn an_event_right_after_connecting_is_heard(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    for round in 0..100 {
        let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
        let text = round.to_string();
        let answer = socket
            .call("message:send", &json!({ "room": room, "text": text }))
            .await;
        assert_eq!(answer["text"], text);
    }
    fixture.stop().await;
}

async fn a_member_resumes_where_it_left(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    for mode in MODES {
        let mut before = fixture.connect(mode, &alice).await;
        let joined = join(&mut before, room).await;
        drop(before);
        for text in ["one", "two", "three"] {
            fixture.send(&alice, room, text).await;
        }
        let mut after = fixture.connect(mode, &alice).await;
        let resume = json!({ "room": room, "after": joined["position"] });
        after.call("room:join", &resume).await;
        assert_eq!(after.messages(3).await, ["one", "two", "three"], "{mode:?}");
    }
    let reload = json!({ "room": room, "after": "ffff.1" });
    let mut lost = fixture.connect(Mode::WebSocket, &alice).await;
    let answer = lost.call("room:join", &reload).await;
    assert_eq!(answer["error"]["code"], "reload_required");
    fixture.stop().await;
}

async fn items_are_put_and_deleted(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    let item = ItemId::generate();
    let put = json!({ "room": room, "kind": "message", "item": item, "body": { "text": "hi" } });
    let put = socket.call("item:put", &put).await;
    assert_eq!(put["body"]["text"], "hi", "{put}");
    let deleted = socket
        .call("item:delete", &json!({ "room": room, "item": item }))
        .await;
    assert_eq!(deleted["op"], "delete", "{deleted}");
    let strange = json!({ "room": room, "kind": "spaceship", "body": {} });
    let refused = socket.call("item:put", &strange).await;
    assert_eq!(refused["error"]["code"], "unsupported_kind");
    let instance = refused["error"]["instance"].as_str().unwrap();
    assert!(
        instance.parse::<roost_schema::InstanceId>().is_ok(),
        "{refused}"
    );
    fixture.stop().await;
}

async fn people_see_each_other_come_move_and_go(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let (alice, bob) = (fixture.person("alice").await, fixture.person("bob").await);
    let room = fixture.board(&[&alice, &bob]).await;
    let mut watcher = fixture.connect_in_sight(Mode::WebSocket, &alice).await;
    join(&mut watcher, room).await;
    let mut other = fixture.connect_in_sight(Mode::Polling, &bob).await;
    join(&mut other, room).await;
    expect_presence(&mut watcher, &bob.actor.user_id, "here").await;
    let joined = join(&mut watcher, room).await;

    other
        .call("cursor:move", &json!({ "room": room, "x": 3.5, "y": -1 }))
        .await;
    let awareness = watcher.event("room:awareness").await;
    assert_eq!(awareness["people"][0]["cursor"]["x"], 3.5, "{awareness}");
    other.call("typing:start", &json!({ "room": room })).await;
    let awareness = watcher.event("room:awareness").await;
    assert_eq!(awareness["people"][0]["typing"], true, "{awareness}");
    // The id must not be visible, because anyone who has a session's id can poll it.
    assert!(!format!("{joined}{awareness}").contains(&other.sid));

    other.call("room:leave", &json!({ "room": room })).await;
    expect_presence(&mut watcher, &bob.actor.user_id, "gone").await;
    fixture.send(&alice, room, "after you left").await;
    assert_eq!(watcher.messages(1).await, ["after you left"]);
    let cursor = json!({ "room": room, "x": 0, "y": 0 });
    let refused = other.call("cursor:move", &cursor).await;
    assert_eq!(refused["error"]["code"], "conflict");

    join(&mut other, room).await;
    expect_presence(&mut watcher, &bob.actor.user_id, "here").await;
    other.say("41");
    expect_presence(&mut watcher, &bob.actor.user_id, "gone").await;
    fixture.stop().await;
}

async fn expect_presence(socket: &mut Socket, user: &impl ToString, state: &str) {
    loop {
        let changed = socket.event("presence:changed").await;
        if changed["userId"] == user.to_string() {
            assert_eq!(changed["state"], state, "{changed}");
            return;
        }
    }
}

async fn a_removed_member_is_told_and_gets_nothing_more(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let (alice, bob) = (fixture.person("alice").await, fixture.person("bob").await);
    let room = fixture.board(&[&alice, &bob]).await;
    for mode in MODES {
        let mut removed = fixture.connect(mode, &bob).await;
        join(&mut removed, room).await;
        fixture
            .app
            .remove_member(&alice.actor, room, bob.actor.user_id, None)
            .await
            .unwrap();
        let closed = removed.event("room:closed").await;
        assert_eq!(closed["code"], "not_found", "{closed}");
        fixture.send(&alice, room, "a secret").await;
        let answer = removed.call("room:join", &json!({ "room": room })).await;
        assert_eq!(answer["error"]["code"], "not_found");
        let invite = roost_schema::InviteMember {
            email: None,
            user_id: Some(bob.actor.user_id),
            role: roost_schema::Role::Editor,
            op_id: None,
        };
        fixture
            .app
            .invite_member(&alice.actor, room, invite)
            .await
            .unwrap();
    }
    fixture.stop().await;
}

async fn a_revoked_session_ends_its_sockets_for_good(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    for (mode, name) in MODES.into_iter().zip(["ann", "ben", "cem"]) {
        let person = fixture.person(name).await;
        let mut socket = fixture.connect(mode, &person).await;
        let session = person.actor.session_id;
        fixture
            .app
            .revoke_session(&person.actor, session)
            .await
            .unwrap();
        // The limit of C7 is 1 s; the test waits five times as long.
        let end = socket.end(Duration::from_secs(5)).await;
        // In the middle of an upgrade the final disconnect may be lost with the poll that carries it.
        let is_moving = mode == Mode::Upgrade && end == Heard::Closed;
        assert!(end == Heard::Disconnected || is_moving, "{mode:?}: {end:?}");
        let auth = json!({ "token": person.token });
        let mut again = Socket::open(fixture.address, mode, Some(&auth)).await;
        let Heard::Refused(refusal) = again.next().await else {
            panic!("a revoked session came back");
        };
        let failure: Value = serde_json::from_str(refusal["message"].as_str().unwrap()).unwrap();
        assert_eq!(failure["code"], "session_revoked");
    }
    fixture.stop().await;
}

async fn a_socket_renews_its_access_or_closes(world: World) {
    let fixture = Fixture::upon(world, &[("access_token_lifetime", "10s")]).await;
    let (alice, bob) = (fixture.person("alice").await, fixture.person("bob").await);
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    let expiring = socket.event("auth:expiring").await;
    assert_eq!(expiring["sessionId"], alice.actor.session_id.to_string());

    let foreign = socket
        .call("auth:refresh", &json!({ "token": bob.token }))
        .await;
    assert_eq!(foreign["error"]["code"], "invalid");
    let renewed = socket
        .call("auth:refresh", &json!({ "token": alice.token }))
        .await;
    assert_eq!(renewed["sessionId"], alice.actor.session_id.to_string());

    let closing = socket.event("server:closing").await;
    assert_eq!(closing["code"], "unauthenticated");
    assert_eq!(socket.end(DEADLINE).await, Heard::Closed);
    fixture.stop().await;
}

async fn a_socket_that_left_may_connect_again(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let room = fixture.board(&[&alice]).await;
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    join(&mut socket, room).await;
    socket.say("41");
    // The server removes the old connection to the namespace a moment later; until then it does not answer a connect.
    let connected = tokio::time::timeout(DEADLINE, async {
        loop {
            socket.say(format!("40{}", json!({ "token": alice.token })));
            let soon = tokio::time::timeout(Duration::from_millis(100), socket.next());
            if let Ok(Heard::Connected(_)) = soon.await {
                return;
            }
        }
    });
    connected.await.expect("an answer");
    join(&mut socket, room).await;
    fixture.stop().await;
}

async fn a_person_hears_of_logins_and_sessions(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let mut socket = fixture.connect(Mode::WebSocket, &alice).await;
    // The server starts to follow the person's own room by itself; after a round trip it has.
    socket
        .call("room:leave", &json!({ "room": RoomId::generate() }))
        .await;
    let origin = roost_server::app::Origin {
        address: fixture.address.ip(),
        user_agent: Some("another device".to_owned()),
    };
    let login = roost_schema::Login {
        email: "alice@example.org".to_owned(),
        password: roost_schema::Secret::new("correct horse battery"),
    };
    let signed_in = fixture.app.login(&origin, login).await.unwrap();
    let logged_in = socket.event("user:loggedIn").await;
    assert_eq!(
        logged_in["body"]["sessionId"],
        signed_in.session.id.to_string()
    );
    let name = roost_schema::NameSession {
        name: "telephone".to_owned(),
    };
    fixture
        .app
        .name_session(&alice.actor, signed_in.session.id, name)
        .await
        .unwrap();
    let updated = socket.event("session:updated").await;
    assert_eq!(updated["body"]["name"], "telephone");
    fixture.stop().await;
}

async fn a_stopping_server_sends_its_sockets_elsewhere(world: World) {
    let fixture = Fixture::upon(world, &[]).await;
    let alice = fixture.person("alice").await;
    let mut sockets = Vec::new();
    for mode in MODES {
        let mut socket = fixture.connect(mode, &alice).await;
        // The second reply comes after the move to a WebSocket.
        for _ in 0..2 {
            let nowhere = json!({ "room": RoomId::generate() });
            socket.call("room:leave", &nowhere).await;
        }
        sockets.push(socket);
    }
    let stopping = tokio_util::task::TaskTracker::new().spawn(fixture.stop());
    for mut socket in sockets {
        let closing = socket.event("server:closing").await;
        assert_eq!(closing["code"], "unavailable");
        assert!(closing["retryAfterMs"].is_u64(), "{closing}");
        assert_eq!(socket.end(DEADLINE).await, Heard::Closed);
    }
    tokio::time::timeout(DEADLINE, stopping)
        .await
        .unwrap()
        .unwrap();
}
