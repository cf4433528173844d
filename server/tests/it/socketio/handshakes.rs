//! Which handshakes open an engine session, and how many sessions may be open.

use super::{
    client::{Heard, Mode, Socket},
    fixture::{DEADLINE, Fixture},
};
use serde_json::{Value, json};
use std::{net::IpAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_connects_without_a_good_token() {
    let fixture = Fixture::build().await;
    let alice = fixture.person("alice").await;
    let forged = format!("{}x", alice.token);
    let hands = [
        json!({}),
        json!({ "token": "" }),
        json!({ "token": 7 }),
        json!({ "token": forged }),
        json!({ "token": alice.token, "admin": true }),
        json!([]),
    ];
    for auth in hands {
        for mode in [Mode::WebSocket, Mode::Polling] {
            let mut socket = Socket::open(fixture.address, mode, Some(&auth)).await;
            let Heard::Refused(refusal) = socket.next().await else {
                panic!("{auth} was let in");
            };
            let failure: Value =
                serde_json::from_str(refusal["message"].as_str().unwrap()).unwrap();
            assert_eq!(failure["code"], "unauthenticated", "{auth}");
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_never_connect_are_bounded_and_go() {
    let fixture = Fixture::build_with(&[("address_handshakes_per_second", "100000")]).await;
    let http = reqwest::Client::new();
    let url = format!(
        "http://{}/socket.io/?EIO=4&transport=polling",
        fixture.address
    );
    let mut open = Vec::new();
    let refused = loop {
        let response = http.get(&url).send().await.unwrap();
        if response.status() != 200 {
            break response;
        }
        open.push(response.text().await.unwrap());
        assert!(open.len() < 5_000, "orphans without end");
    };
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let refusal: Value = refused.json().await.unwrap();
    assert_eq!(refusal["code"], "overloaded");
    // One address gets no more than its share, and other addresses still get sessions.
    assert_eq!(open.len(), 100);
    let elsewhere = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 7, 3]));
    let answer = elsewhere.build().unwrap().get(&url).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    // Unconnected sessions end after their time, and free the share.
    tokio::time::timeout(DEADLINE, async {
        while http.get(&url).send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .expect("room again");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_opens_so_many_sessions_and_no_more() {
    let fixture = Fixture::build_with(&[("address_handshakes_per_second", "2")]).await;
    let http = reqwest::Client::new();
    let url = format!(
        "http://{}/socket.io/?EIO=4&transport=polling",
        fixture.address
    );
    let mut refused = None;
    for _ in 0..50 {
        let response = http.get(&url).send().await.unwrap();
        if response.status() != 200 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("a budget");
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_refused_that_are_none() {
    let fixture = Fixture::build_with(&[("allowed_origins", "https://app.example.org")]).await;
    let own = format!("http://{}", fixture.address);
    for (line, headers, status) in handshakes(&own) {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            fixture.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{line} {headers}");
    }
    fixture.stop().await;
}

/// Request lines with their headers, and the expected status of each.
fn handshakes(own: &str) -> Vec<(&'static str, String, u16)> {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let good = format!("{upgrade}Sec-WebSocket-Version: 13\r\n");
    let with_origin = |origin: &str| format!("{good}Origin: {origin}\r\n");
    let websocket = "GET /socket.io/?EIO=4&transport=websocket";
    let polling = "GET /socket.io/?EIO=4&transport=polling";
    vec![
        (websocket, good.clone(), 101),
        (websocket, with_origin(own), 101),
        (websocket, with_origin("https://app.example.org"), 101),
        (websocket, with_origin("https://evil.example"), 403),
        (websocket, with_origin("null"), 403),
        (
            websocket,
            format!("{upgrade}Sec-WebSocket-Version: 12\r\n"),
            426,
        ),
        (websocket, upgrade.to_owned(), 426),
        (websocket, String::new(), 400),
        (polling, String::new(), 200),
        (polling, "Origin: https://evil.example\r\n".to_owned(), 403),
        (
            "GET /socket.io/?EIO=3&transport=polling",
            String::new(),
            400,
        ),
        ("GET /socket.io/?EIO=4&transport=pigeon", String::new(), 400),
        ("GET /socket.io/?transport=polling", String::new(), 400),
        ("GET /socket.io/", String::new(), 400),
        (
            "GET /socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA",
            String::new(),
            400,
        ),
        (
            "GET /socket.io/?EIO=4&transport=polling&sid=",
            String::new(),
            400,
        ),
        (
            "GET /socket.io/?EIO=4&transport=polling&sid=%00",
            String::new(),
            400,
        ),
        (
            "GET /socket.io/?EIO=4&transport=polling&transport=websocket",
            String::new(),
            400,
        ),
        (
            "POST /socket.io/?EIO=4&transport=polling",
            "Content-Length: 0\r\n".to_owned(),
            400,
        ),
        (
            "PUT /socket.io/?EIO=4&transport=polling",
            "Content-Length: 0\r\n".to_owned(),
            400,
        ),
    ]
}
