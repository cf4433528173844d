//! What Caddy refuses by itself, what it adds and what it hides.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use roost_schema::ErrorCode;

use super::Fixture;
use super::client::{POLL_OF_SESSION, read};
use super::upstream::STREAM;

#[tokio::test]
async fn what_is_too_large_is_refused_before_an_instance_sees_it() {
    let fixture = Fixture::start();
    let client = fixture.client(1);

    let answer = client.post("/api/v1/large", vec![b'x'; 3 << 20]).await;
    assert_eq!(answer.status, ErrorCode::TooLarge.http_status());
    assert!(
        answer.body.contains(ErrorCode::TooLarge.meaning().trim()),
        "{}",
        answer.body
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );

    let request = client.request(Method::GET, "/api/v1/large");
    let answer = read(request.header("x-large", "x".repeat(20_000))).await;
    assert_eq!(answer.status, 431);
    assert_eq!(fixture.hits("/large"), 0);

    let request = client.request(Method::GET, "/api/v1/me");
    assert_eq!(
        read(request.header("x-fits", "x".repeat(6_000)))
            .await
            .status,
        200
    );
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let fixture = Fixture::start();
    let mut stream = TcpStream::connect(("127.0.0.1", fixture.caddy.server.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(50)))
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        .unwrap();
    let mut answer = Vec::new();
    // Closed, with or without a word: a timeout would be an error here.
    stream.read_to_end(&mut answer).unwrap();
}

#[tokio::test]
async fn answers_carry_what_browsers_need_and_not_what_attackers_want() {
    let fixture = Fixture::start();
    let answer = fixture.client(1).get("/").await;
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert!(answer.header("content-security-policy").is_some());
    // Not the instance's either.
    assert_eq!(
        (answer.header("server"), answer.header("via")),
        (None, None)
    );
}

#[tokio::test]
async fn events_pass_one_by_one_also_to_who_takes_compression() {
    let fixture = Fixture::start();
    let request = fixture.client(1).request(Method::GET, STREAM);
    let request = request.header("accept-encoding", "gzip, zstd");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers().get("content-encoding"), None);
    for word in ["first", "second"] {
        for upstream in &fixture.upstreams {
            upstream.words.send(word).unwrap();
        }
        let event = response.chunk().await.unwrap().unwrap();
        assert_eq!(event, format!("data: {word}\n\n"));
    }
}

#[tokio::test]
async fn the_log_names_no_session_and_metrics_are_on_their_own_port() {
    let fixture = Fixture::start();
    let client = fixture.client(1);
    client.get(POLL_OF_SESSION).await;
    client.get("/api/v1/stream-of?ticket=secret-ticket").await;
    super::eventually("both are logged", async || {
        let log = std::fs::read_to_string(fixture.caddy.server.log()).unwrap();
        assert!(
            !log.contains("sid=abc") && !log.contains("secret-ticket"),
            "{log}"
        );
        log.contains("sid=REDACTED") && log.contains("ticket=REDACTED")
    })
    .await;

    let metrics = reqwest::get(fixture.caddy.metrics_url())
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("caddy_http_requests_total"));
    assert!(metrics.contains("caddy_reverse_proxy_upstreams_healthy"));
    assert!(!client.get("/metrics").await.body.contains("caddy"));
}
