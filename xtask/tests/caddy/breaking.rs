//! Instances that are gone, stop, or break in the middle of a request.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use roost_schema::ErrorCode;
use serde_json::Value;

use super::client::{Answer, Client, POLL, Socket, WEBSOCKET, read};
use super::upstream::{BREAK, DIE};
use super::{Fixture, eventually};

/// Enough for every instance to have answered this client.
const WARM_UP_REQUESTS: usize = 30;
/// Caddy looks once a second, twice, and gives up on a request after 3 s; the rest is for a loaded machine.
const REFUSAL_MAX: Duration = Duration::from_secs(15);

async fn warm_up(client: &Client) {
    for _ in 0..WARM_UP_REQUESTS {
        assert_eq!(client.get("/api/v1/me").await.status, 200);
    }
}

/// As a problem document of Roost itself.
fn assert_problem(answer: &Answer, code: ErrorCode) {
    assert_eq!(answer.status, code.http_status());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        (answer.header("server"), answer.header("via")),
        (None, None)
    );
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["code"], code.as_str());
    assert_eq!(
        problem["type"],
        format!("urn:roost:error:{}", code.as_str())
    );
    assert_eq!(problem["title"], code.meaning().trim());
    assert_eq!(problem["status"], code.http_status());
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty())
    );
    let is_retryable = code.is_retryable();
    assert_eq!(problem["retryAfterMs"].as_u64().is_some(), is_retryable);
    assert_eq!(answer.header("retry-after").is_some(), is_retryable);
}

#[tokio::test]
async fn what_broke_after_it_was_sent_is_never_sent_again() {
    let fixture = Fixture::start();
    let client = fixture.client(1);
    let mut sent = 0;
    for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD] {
        warm_up(&client).await;
        // With the header that makes HTTP libraries repeat a request.
        for header in ["x-nothing", "idempotency-key"] {
            let request = client.request(method.clone(), BREAK).header(header, "1");
            let answer = read(request).await;
            sent += 1;
            assert_eq!(fixture.hits(BREAK), sent, "{method} {header}");
            if method != Method::HEAD {
                assert_problem(&answer, ErrorCode::OutcomeUnknown);
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_kills_an_instance_kills_no_other() {
    let fixture = Fixture::start();
    let client = fixture.client(1);
    warm_up(&client).await;
    client.get(DIE).await;
    assert_eq!(fixture.hits(DIE), 1);
    warm_up(&client).await;
}

#[tokio::test]
async fn an_instance_that_cannot_be_dialed_costs_no_request() {
    let fixture = Fixture::start();
    let clients: Vec<_> = (1..=16).map(|number| fixture.client(number)).collect();
    for client in &clients {
        client.get(POLL).await;
    }
    fixture.upstreams[0].die();
    let body = "x".repeat(100_000);
    let mut names = HashSet::new();
    for client in &clients {
        names.insert(client.get("/api/v1/me").await.body);
        names.insert(client.post("/api/v1/rooms", body.clone()).await.body);
        names.insert(client.post(POLL, body.clone()).await.body);
    }
    assert_eq!(names, HashSet::from(["two".to_owned(), "three".to_owned()]));
    for upstream in &fixture.upstreams[1..] {
        assert!(upstream.seen("POST").iter().all(|seen| seen.body == body));
    }
}

#[tokio::test]
async fn when_nobody_is_there_the_answer_says_so_and_when_to_come_back() {
    let fixture = Fixture::start();
    for upstream in &fixture.upstreams {
        upstream.die();
    }
    let client = fixture.client(1);
    for path in ["/api/v1/me", POLL] {
        let started = Instant::now();
        let answer = client.get(path).await;
        assert!(started.elapsed() < REFUSAL_MAX, "{:?}", started.elapsed());
        assert_problem(&answer, ErrorCode::Unavailable);
    }
}

#[tokio::test]
async fn an_instance_that_is_not_ready_gets_nothing_new_and_keeps_what_it_has() {
    let fixture = Fixture::start();
    let client = fixture.client(1);
    let mut sockets = Vec::new();
    for _ in 0..fixture.upstreams.len() {
        sockets.push(Socket::open(&client, WEBSOCKET).await);
    }
    let draining = &fixture.upstreams[0];
    // It is asked whenever the others are: what it is asked by one round of many requests tells.
    let is_asked = async || {
        let before = draining.seen("/api/v1/me").len();
        warm_up(&client).await;
        draining.seen("/api/v1/me").len() > before
    };
    assert!(is_asked().await);

    draining.set_ready(false);
    eventually("nothing new arrives", async || !is_asked().await).await;
    for socket in &mut sockets {
        socket.echo(b"still here").await;
    }

    draining.set_ready(true);
    eventually("it is back", is_asked).await;
}
