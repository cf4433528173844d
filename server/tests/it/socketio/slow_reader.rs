//! A client that does not read: only this client is closed, the others notice nothing, and it resumes.

use super::{
    client::{Heard, Mode, Socket, polling_url},
    fixture::{DEADLINE, Fixture, join},
    http_proxy::HttpProxy,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// So many messages that they far exceed all buffers on the way.
const FLOOD_MESSAGES: usize = 500;
const MESSAGE_BYTES: usize = 30 * 1_024;

/// How long the others may take for all messages; with reading clients only it takes a few seconds.
const FLOOD_DEADLINE: Duration = Duration::from_mins(1);
/// A polling session that still answers pings is closed after 30 s without a poll.
const GIVEN_UP_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_on_websocket() {
    only_the_stuck_one_is_closed(Mode::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_on_polling() {
    only_the_stuck_one_is_closed(Mode::Polling).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_after_the_upgrade() {
    only_the_stuck_one_is_closed(Mode::Upgrade).await;
}

async fn only_the_stuck_one_is_closed(mode: Mode) {
    // The server keeps idle connections for longer than the proxy, which could otherwise reuse one that just closes.
    let settings = [("write_stall_timeout", "10s"), ("header_timeout", "2m")];
    let fixture = Fixture::build_with(&settings).await;
    let proxy = HttpProxy::before(fixture.address);
    let (alice, bob, eve) = (
        fixture.person("alice").await,
        fixture.person("bob").await,
        fixture.person("eve").await,
    );
    let room = fixture.board(&[&alice, &bob, &eve]).await;
    let mut others = Vec::new();
    for other in [Mode::WebSocket, Mode::Polling, Mode::Upgrade] {
        let mut socket = Socket::connect(proxy.address, other, &bob.token).await;
        join(&mut socket, room).await;
        others.push(socket);
    }
    let mut stuck = Socket::connect(proxy.address, mode, &eve.token).await;
    let joined = join(&mut stuck, room).await;
    let stuck_since = Instant::now();
    stuck.read(false);

    let flood = async {
        for number in 0..FLOOD_MESSAGES {
            fixture.send(&alice, room, &text(number)).await;
        }
    };
    let heard = async {
        for socket in &mut others {
            let texts = socket.messages(FLOOD_MESSAGES).await;
            assert!((0..FLOOD_MESSAGES).eq(texts.iter().map(|text| number_of(text))));
        }
    };
    tokio::time::timeout(FLOOD_DEADLINE, async { tokio::join!(flood, heard) })
        .await
        .expect("the others hear everything while one is stuck");

    gone(&mut others[0], &eve.actor.user_id.to_string()).await;
    assert!(stuck_since.elapsed() < GIVEN_UP_WITHIN + FLOOD_DEADLINE);
    if mode == Mode::Polling {
        let poll = reqwest::get(polling_url(proxy.address, &stuck.sid)).await;
        assert_eq!(poll.unwrap().status(), 400, "its id is refused");
    } else {
        stuck.read(true);
        assert_eq!(stuck.end(DEADLINE).await, Heard::Closed);
    }

    // Clients over the same pooled connections are still connected.
    fixture.send(&alice, room, "0 afterwards").await;
    for socket in &mut others {
        assert_eq!(socket.messages(1).await, ["0 afterwards"]);
    }
    assert!(proxy.reused() > 10, "the proxy pools");

    // The closed client resumes without a gap.
    let mut again = Socket::connect(proxy.address, mode, &eve.token).await;
    let resume = json!({ "room": room, "after": joined["position"] });
    again.call("room:join", &resume).await;
    assert_eq!(
        again.messages(FLOOD_MESSAGES + 1).await.len(),
        FLOOD_MESSAGES + 1
    );
    fixture.stop().await;
}

/// A client that does not read for a while stays connected and receives the missed entries from the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_socket_catches_up_without_a_gap() {
    for mode in [Mode::WebSocket, Mode::Polling, Mode::Upgrade] {
        let fixture = Fixture::build().await;
        let (alice, bob) = (fixture.person("alice").await, fixture.person("bob").await);
        let room = fixture.board(&[&alice, &bob]).await;
        let mut slow = fixture.connect(mode, &bob).await;
        join(&mut slow, room).await;
        slow.read(false);
        for number in 0..FLOOD_MESSAGES {
            fixture.send(&alice, room, &text(number)).await;
        }
        slow.read(true);
        let texts = slow.messages(FLOOD_MESSAGES).await;
        assert!((0..FLOOD_MESSAGES).eq(texts.iter().map(|text| number_of(text))));
        // The commands of the socket are still answered.
        let message = json!({ "room": room, "text": "caught up" });
        assert_eq!(
            slow.call("message:send", &message).await["text"],
            "caught up"
        );
        fixture.stop().await;
    }
}

/// The engine keeps packets that do not fit into a poll's answer for the next poll, and loses them when the session
/// moves to a WebSocket in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_the_move_to_websocket() {
    /// With the engine's default size one poll's answer holds one room's frame and not two.
    const MESSAGES: usize = 20;
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let mut joins = Vec::new();
    for _ in 0..4 {
        let room = fixture.board(&[&alice]).await;
        let start = fixture.app.list_events(&alice.actor, room, None).await;
        for number in 0..MESSAGES {
            fixture.send(&alice, room, &text(number)).await;
        }
        let join = json!({ "room": room, "after": start.unwrap().position });
        joins.push(format!("42{}", json!(["room:join", join])));
    }
    let connect = format!("40{}", json!({ "token": alice.token }));
    let packets = [connect, joins.join("\x1e")];
    for _ in 0..20 {
        let mut socket = Socket::open_saying(fixture.address, Mode::Upgrade, &packets).await;
        let mut heard = 0;
        while heard < joins.len() * MESSAGES {
            let frame = socket.event("room:events").await;
            heard += frame["events"].as_array().unwrap().len();
        }
    }
    fixture.stop().await;
}

async fn gone(socket: &mut Socket, user: &str) {
    tokio::time::timeout(GIVEN_UP_WITHIN, async {
        loop {
            let changed = socket.event("presence:changed").await;
            if changed["userId"] == user && changed["state"] != "here" {
                return;
            }
        }
    })
    .await
    .expect("the stuck one is given up");
}

fn text(number: usize) -> String {
    format!("{number} {}", "x".repeat(MESSAGE_BYTES))
}

fn number_of(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}
