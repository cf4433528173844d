//! Which instance a request goes to.

use std::collections::HashSet;

use reqwest::Method;

use super::client::{POLL, POLL_OF_SESSION, Socket, WEBSOCKET, WEBSOCKET_OF_SESSION, read};
use super::upstream::Upstream;
use super::{Fixture, addresses, eventually};

#[tokio::test]
async fn the_cookie_is_set_for_sessions_and_nowhere_else() {
    let fixture = Fixture::start();
    let client = fixture.client(1);
    for path in [
        "/",
        "/api/v1/me",
        "/graphql",
        "/socket.io/?EIO=4",
        "/page/socket.io/?sid=abc",
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status, answer.header("set-cookie")),
            (200, None),
            "{path}"
        );
    }
    let opened = client.upgrade(WEBSOCKET).await;
    assert!(opened.headers().get("set-cookie").is_none());

    for path in [POLL, POLL_OF_SESSION] {
        let answer = client.get(path).await;
        let set = answer.header("set-cookie").unwrap();
        assert!(set.starts_with("roost_instance="), "{set}");
        assert!(
            set.contains("; Path=/socket.io; HttpOnly; SameSite=Lax"),
            "{set}"
        );
    }
    let upgraded = client.upgrade(WEBSOCKET_OF_SESSION).await;
    assert!(upgraded.headers().get("set-cookie").is_some());
}

#[tokio::test]
async fn what_is_for_operators_is_not_passed_on() {
    let fixture = Fixture::start();
    for path in ["/healthz", "/lb-status"] {
        let answer = fixture.client(1).get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains(r#""code":"not_found""#), "{path}");
    }
    assert_eq!(fixture.client(1).get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_cookie_binds_whatever_the_address_and_a_forged_one_gets_a_fresh_one() {
    let fixture = Fixture::start();
    let first = fixture.client(1).get(POLL).await;
    let cookie = first.cookie().unwrap();
    for number in 2..12 {
        let mut client = fixture.client(number);
        client.cookie = Some(cookie.clone());
        let answer = client.get(POLL_OF_SESSION).await;
        assert_eq!(answer.body, first.body);
        assert_eq!(answer.header("set-cookie"), None, "it has a good one");
    }

    let mut forger = fixture.client(1);
    forger.cookie = Some(format!("roost_instance={}", "0".repeat(64)));
    let answer = forger.get(POLL).await;
    assert_eq!(answer.cookie(), Some(cookie));
}

#[tokio::test]
async fn clients_without_cookies_stay_by_their_address() {
    let fixture = Fixture::start();
    let mut instances = HashSet::new();
    for number in 1..=16 {
        let client = fixture.client(number);
        let name = client.get(POLL).await.body;
        for _ in 0..5 {
            assert_eq!(client.get(POLL_OF_SESSION).await.body, name);
            assert_eq!(client.post(POLL_OF_SESSION, "40").await.body, name);
        }
        // A WebSocket that takes over from the polls.
        Socket::open(&client, WEBSOCKET_OF_SESSION)
            .await
            .echo(b"probe")
            .await;
        let upstream = fixture.upstreams.iter().find(|upstream| {
            upstream
                .seen("transport=websocket")
                .iter()
                .any(|seen| seen.headers["x-forwarded-for"] == format!("127.0.1.{number}"))
        });
        assert!(!upstream.unwrap().seen(POLL).is_empty());
        instances.insert(name);
    }
    assert!(instances.len() >= 2, "{instances:?}");
}

#[tokio::test]
async fn websockets_are_spread_by_how_many_each_instance_has() {
    let fixture = Fixture::start();
    // All from one address.
    let client = fixture.client(1);
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(Socket::open(&client, WEBSOCKET).await);
    }
    for upstream in &fixture.upstreams {
        assert_eq!(upstream.seen(WEBSOCKET).len(), 4);
    }
}

#[tokio::test]
async fn an_address_is_only_believed_of_a_trusted_proxy() {
    let forwarded = |fixture: &Fixture| {
        let seen = fixture
            .upstreams
            .iter()
            .flat_map(|upstream| upstream.seen(POLL));
        seen.map(|seen| seen.headers["x-forwarded-for"].clone())
            .collect::<HashSet<_>>()
    };
    let names = async |fixture: &Fixture| {
        let mut names = HashSet::new();
        for number in 1..=16 {
            let request = fixture.client(1).request(Method::GET, POLL);
            // The client's own claim stands first.
            let addresses = format!("6.6.6.6, 203.0.113.{number}");
            names.insert(
                read(request.header("x-forwarded-for", addresses))
                    .await
                    .body,
            );
        }
        names
    };

    let open = Fixture::start();
    assert_eq!(
        names(&open).await.len(),
        1,
        "whoever lies about an address chooses an instance"
    );
    assert_eq!(forwarded(&open), HashSet::from(["127.0.1.1".to_owned()]));

    let behind = Fixture::behind("127.0.0.0/8");
    assert!(names(&behind).await.len() >= 2);
    let expected = (1..=16).map(|number| format!("203.0.113.{number}"));
    assert_eq!(forwarded(&behind), expected.collect());
}

#[tokio::test]
async fn a_fourth_instance_joins_and_nothing_that_is_open_is_dropped() {
    let mut fixture = Fixture::start();
    let client = fixture.client(1);
    let mut sockets = Vec::new();
    for path in [WEBSOCKET, WEBSOCKET, WEBSOCKET_OF_SESSION] {
        sockets.push(Socket::open(&client, path).await);
    }
    let stream = client.request(Method::GET, super::upstream::STREAM);
    let mut stream = stream.send().await.unwrap();

    fixture.upstreams.push(Upstream::start("four"));
    fixture
        .caddy
        .reload(&addresses(&fixture.upstreams))
        .unwrap();

    let (four, earlier) = fixture.upstreams.split_last().unwrap();
    eventually("the fourth is asked", async || {
        client.get("/api/v1/me").await;
        !four.seen("/api/v1/me").is_empty()
    })
    .await;
    for socket in &mut sockets {
        socket.echo(b"still here").await;
    }
    for upstream in earlier {
        upstream.words.send("still here").unwrap();
    }
    let event = stream.chunk().await.unwrap().unwrap();
    assert_eq!(event, "data: still here\n\n");
}
