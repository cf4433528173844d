//! Arriving bytes: the server checks the sender first, and bounds each body and the memory of each address.

use crate::support::{
    Person, Server, World, connect_from, eventually, in_time, rest_of, unfinished_frame,
    unfinished_post,
};
use reqwest::Method;
use roost_schema::RoomId;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const KIB: usize = 1_024;
/// Longer than the server takes to refuse a body.
const HEARD_SOON: Duration = Duration::from_millis(1_200);
const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 7, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 7, 2));

async fn bearer(person: &Person) -> String {
    let token = person.access_token().await.unwrap();
    format!("authorization: Bearer {}\r\n", token.expose())
}

/// The error code of a complete answer.
fn code(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    problem["code"].as_str().unwrap_or_default().to_owned()
}

/// The body, padded with blanks to a number of bytes.
fn padded(body: &Value, bytes: usize) -> String {
    let text = body.to_string();
    let blanks = " ".repeat(bytes - text.len());
    text + &blanks
}

#[tokio::test]
async fn without_an_account_or_about_one_16_kib_are_enough() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let login = json!({ "email": "nobody@example.org", "password": "correct horse" });
    let query = json!({ "query": "{__typename}" });
    for (path, body) in [
        ("/api/v1/auth/login", login.clone()),
        ("/api/v1/auth/register", login.clone()),
        ("/api/v1/auth/refresh", json!({ "refreshToken": "x" })),
        ("/graphql", query.clone()),
        ("/nowhere", json!({})),
    ] {
        let ask = async |bytes| {
            let request = server.endpoint.request(Method::POST, path);
            let request = request.header("content-type", "application/json");
            let body = padded(&body, bytes);
            let answer = request.body(body).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let (status, _) = ask(16 * KIB).await;
        assert_ne!(status, 413, "{path}");
        let (status, text) = ask(16 * KIB + 1).await;
        assert_eq!(status, 413, "{path}");
        assert!(
            text.contains("\"too_large\"") && text.contains("16 KiB"),
            "{text}"
        );
    }
    let change = json!({ "currentPassword": "x", "newPassword": "y" });
    let request = alice.ask(Method::POST, "/api/v1/auth/password").await;
    let request = request.header("content-type", "application/json");
    let answer = request.body(padded(&change, 16 * KIB + 1)).send().await;
    assert_eq!(answer.unwrap().status(), 413);
    // An account may send larger bodies, except to sign in.
    let request = alice.ask(Method::POST, "/graphql").await;
    let request = request.header("content-type", "application/json");
    let answer = request.body(padded(&query, 900 * KIB)).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_token_is_looked_at_before_the_body() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let path = format!("/api/v1/rooms/{}/messages", alice.board("Plan").await.id);
    let good = bearer(&alice).await;
    for (headers, expected) in [
        ("", "unauthenticated"),
        ("authorization: Bearer forged\r\n", "unauthenticated"),
    ] {
        // The server refuses without waiting for the other bytes, which never come.
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{headers}content-type: application/json\r\ncontent-length: 1000000\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = in_time(rest_of(&mut stream)).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert_eq!(code(&answer), expected);
        assert!(answer.contains("connection: close"), "{answer}");
    }
    // GraphQL serves guests, too, but a large body needs an account: an expired token is refused as such.
    let large = padded(&json!({ "query": "{__typename}" }), 20 * KIB);
    let request = server.endpoint.request(Method::POST, "/graphql");
    let request = request.header("content-type", "application/json");
    let answer = request.bearer_auth("expired").body(large).send().await;
    let answer: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(answer["code"], "unauthenticated");
    // A small body arrives whole, so the refusal keeps the connection open.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        in_time(stream.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 401");
        let mut rest = vec![0; 4_096];
        in_time(stream.read(&mut rest)).await.unwrap();
    }
    // A request that expects `100 Continue` gets it only with a valid token.
    for (headers, expected) in [("", "HTTP/1.1 401"), (good.as_str(), "HTTP/1.1 100")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{headers}expect: 100-continue\r\ncontent-length: 1000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        in_time(stream.read_exact(&mut status)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status), expected);
    }
}

/// Closing a connection with unread bytes resets it, and the client loses the answer.
#[tokio::test]
async fn one_that_is_refused_and_goes_on_sending_hears_why_and_is_closed() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let path = format!("/api/v1/rooms/{}/messages", RoomId::generate());
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..10 {
        sleep(Duration::from_millis(100)).await;
        let written = stream.write_all(&[b' '; KIB]).await;
        written.expect("what it sends is read");
    }
    let answer = in_time(rest_of(&mut stream)).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(code(&answer), "unauthenticated");
    let closed = async {
        while stream.write_all(b" ").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    in_time(closed).await;
}

/// Opens unfinished requests until the address is refused; answers the open ones and the refusal.
async fn take_share(
    server: &Server,
    path: &str,
    headers: &str,
    bytes: usize,
) -> (Vec<TcpStream>, String) {
    let mut held = Vec::new();
    loop {
        let mut stream = unfinished_post((GREEDY, server.address), path, headers, bytes).await;
        let mut first = [0];
        // An unfinished request gets no answer, and a refusal comes soon.
        match timeout(HEARD_SOON, stream.read(&mut first)).await {
            Err(_) => held.push(stream),
            Ok(read) => {
                read.unwrap();
                let rest = in_time(rest_of(&mut stream)).await;
                return (held, format!("H{rest}"));
            }
        }
        assert!(held.len() < 100, "one address takes everything");
    }
}

#[tokio::test]
async fn one_address_has_a_share_of_what_arrives() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let token = bearer(&alice).await;
    let room = alice.board("Plan").await.id;
    let messages = format!("/api/v1/rooms/{room}/messages");
    for (path, headers, bytes) in [
        ("/api/v1/auth/login", "", 16 * KIB),
        ("/graphql", token.as_str(), KIB * KIB),
        (messages.as_str(), token.as_str(), KIB * KIB),
    ] {
        let (held, refusal) = take_share(&server, path, headers, bytes).await;
        assert!(!held.is_empty(), "one fits: {refusal}");
        assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");
        assert!(
            refusal.to_lowercase().contains("retry-after: 1"),
            "{refusal}"
        );
        assert_eq!(code(&refusal), "overloaded");
        // Another address has its own share.
        let finish = async |from| {
            let mut stream = unfinished_post((from, server.address), path, headers, bytes).await;
            let _ = stream.write_all(b" ").await;
            let mut status = [0; 12];
            in_time(stream.read_exact(&mut status)).await.unwrap();
            String::from_utf8_lossy(&status).into_owned()
        };
        // 400 means that the body was read to its end: blanks are no JSON.
        assert_eq!(finish(OTHER).await, "HTTP/1.1 400", "{path}");
        // The share is free again once the connections are closed.
        drop(held);
        eventually(async || finish(GREEDY).await == "HTTP/1.1 400").await;
    }
}

#[tokio::test]
async fn nothing_may_follow_a_request_for_a_websocket_until_it_is_answered() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let ask = "host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let other = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    for path in ["/graphql", "/socket.io/?EIO=4&transport=websocket"] {
        let request = format!("GET {path} HTTP/1.1\r\n{ask}");
        let status = async |said: &[u8]| {
            let mut stream = connect_from(OTHER, server.address).await;
            stream.write_all(said).await.unwrap();
            let mut status = [0; 12];
            in_time(stream.read_exact(&mut status)).await.unwrap();
            (stream, String::from_utf8_lossy(&status).into_owned())
        };
        let plain = format!("{request}\r\n");
        assert_eq!(status(plain.as_bytes()).await.1, "HTTP/1.1 101", "{path}");
        let mut hasty = plain.clone().into_bytes();
        hasty.extend(&unfinished_frame(100)[..20]);
        let (mut stream, answer) = status(&hasty).await;
        assert_eq!(answer, "HTTP/1.1 400", "{path}");
        assert_eq!(code(&in_time(rest_of(&mut stream)).await), "malformed");
        let with_body = format!("{request}content-length: 2\r\n\r\n{{}}");
        assert_eq!(
            status(with_body.as_bytes()).await.1,
            "HTTP/1.1 400",
            "{path}"
        );
        // The same holds after another request on the same connection.
        let (mut stream, answer) = status(other.as_bytes()).await;
        assert_eq!(answer, "HTTP/1.1 200");
        let mut rest = vec![0; 4_096];
        in_time(stream.read(&mut rest)).await.unwrap();
        stream.write_all(plain.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        in_time(stream.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 101", "{path}");
    }
}
