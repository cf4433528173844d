//! The serving loop that all transports share: slow, large and many requests, and refusals.

use crate::support::World;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const DEADLINE: Duration = crate::support::DEADLINE;

#[tokio::test]
async fn a_slow_head_is_not_waited_for() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("header_timeout", "300ms")]).await;
    for begun in [
        "",
        "P",
        "GET /livez HT",
        "GET /livez HTTP/1.1\r\nhost: a\r\n",
    ] {
        let answer = talk(server.address, begun.as_bytes()).await;
        assert!(answer.is_empty(), "{begun:?}: {answer}");
    }
    // An idle connection between two requests is closed, too.
    let twice = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    assert!(
        talk(server.address, twice.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_slow_body_is_not_waited_for() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("body_stall_timeout", "300ms")]).await;
    let begun = "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{";
    let answer = talk(server.address, begun.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(problem(&answer)["code"], "timeout");
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let announced = format!("{head}content-length: 1048577\r\n\r\n");
    let answer = talk(server.address, announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(problem(&answer)["code"], "too_large");

    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n100001\r\n").into_bytes();
    chunked.extend(vec![b' '; 0x10_0001]);
    let answer = talk(server.address, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let padding = "x".repeat(64 * 1_024);
    let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx-padding: {padding}\r\n\r\n");
    let answer = talk(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_request_that_names_no_host_or_several_is_refused() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("metrics_listen", "127.0.0.1:0")]).await;
    let metrics = server.metrics_address.unwrap();
    for (address, line) in [
        (server.address, "GET /livez"),
        (server.address, "GET /healthz"),
        (server.address, "GET /nowhere"),
        (server.address, "POST /api/v1/auth/login"),
        (server.address, "GET /socket.io/?EIO=4&transport=polling"),
        (metrics, "GET /metrics"),
    ] {
        for (hosts, detail) in [
            ("", "the Host header is missing"),
            (
                "host: a\r\nhost: a\r\n",
                "there is more than one Host header",
            ),
            (
                "host: a\r\nHost: b\r\n",
                "there is more than one Host header",
            ),
            (
                "host: a b\r\n",
                "the Host header is not a host, or a host and port",
            ),
            (
                "host: ann@a\r\n",
                "the Host header is not a host, or a host and port",
            ),
        ] {
            // The server closes the connection by itself.
            let request = format!("{line} HTTP/1.1\r\n{hosts}content-length: 2\r\n\r\n{{}}");
            let answer = talk(address, request.as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 400"),
                "{line} {hosts}: {answer}"
            );
            assert!(answer.contains("application/problem+json"), "{answer}");
            let problem = problem(&answer);
            assert_eq!(problem["code"], "malformed", "{line} {hosts}");
            assert_eq!(problem["detail"], detail, "{line} {hosts}");
            assert_eq!(problem["requestId"].is_string(), address == server.address);
        }
    }
    let old = talk(server.address, b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_to_come_back() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("connections_max", "2")]).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        kept.push(stream);
    }
    let request = b"POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
    let answer = talk(server.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 5"), "{answer}");
    assert_eq!(problem(&answer)["code"], "overloaded");
    for probe in ["/livez", "/readyz"] {
        let request = format!("GET {probe} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        // The server may still be starting.
        crate::support::eventually(async || {
            let answer = talk_once(server.address, request.as_bytes()).await;
            answer.starts_with("HTTP/1.1 200")
        })
        .await;
    }

    drop(kept);
    crate::support::eventually(async || {
        talk_once(
            server.address,
            b"GET /api/v1/me HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await
        .starts_with("HTTP/1.1 401")
    })
    .await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_one_client_has_a_share_of_the_connections() {
    const SHARE: usize = 64;
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[("connections_max", "200"), ("trusted_proxies", "127.0.0.1")])
        .await;
    let ask = async |stream: &mut TcpStream, client: &str| {
        let request =
            format!("GET /api/v1/me HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {client}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4_096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let mut kept = Vec::new();
    for _ in 0..SHARE {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let answer = ask(&mut stream, "203.0.113.1").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        kept.push(stream);
    }
    let mut another = TcpStream::connect(server.address).await.unwrap();
    let refused = ask(&mut another, "203.0.113.1").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(problem(&refused)["code"], "overloaded");
    // A connection behind the proxy may carry another client's requests, and so may one that carried the first
    // client's.
    for stream in [&mut another, &mut kept[0]] {
        let answer = ask(stream, "203.0.113.2").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let mut another = TcpStream::connect(server.address).await.unwrap();
    let answer = ask(&mut another, "203.0.113.1").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_to_wait() {
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[("address_requests_per_second", "5")])
        .await;
    let ask = || {
        server
            .endpoint
            .request(reqwest::Method::GET, "/api/v1/me")
            .send()
    };
    let mut refused = None;
    for _ in 0..20 {
        let response = ask().await.unwrap();
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("the sixth request within a second is one too many");
    assert_eq!(refused.headers()["retry-after"], "1");
    let id = refused.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "rate_limited");
    assert!(problem["retryAfterMs"].as_u64().unwrap() <= 1_000);
    assert_eq!(problem["requestId"], id);

    let elsewhere = server
        .endpoint
        .from_address("127.0.0.2".parse().unwrap())
        .unwrap();
    let response = elsewhere.request(reqwest::Method::GET, "/api/v1/me").send();
    assert_eq!(response.await.unwrap().status(), 401);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_limit_of_its_own() {
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[
            ("address_requests_per_second", "5"),
            ("trusted_proxies", "127.0.0.0/31"),
        ])
        .await;
    let elsewhere = "127.0.0.9".parse().unwrap();
    let untrusted = server.endpoint.from_address(elsewhere).unwrap();
    let ask = async |endpoint: &roost_client::Endpoint, client: &str| {
        let request = endpoint.request(reqwest::Method::GET, "/api/v1/me");
        let response = request.header("x-forwarded-for", client).send().await;
        response.unwrap().status().as_u16()
    };
    for client in 1..=20 {
        let client = format!("203.0.113.{client}");
        assert_eq!(ask(&server.endpoint, &client).await, 401, "{client}");
    }
    let mut refused = 0;
    for client in 1..=20 {
        let client = format!("203.0.113.{client}");
        refused += usize::from(ask(&untrusted, &client).await == 429);
    }
    assert!(
        refused > 0,
        "who is no proxy of ours cannot choose its address"
    );
}

#[tokio::test]
async fn refusals_outside_any_transport_are_problems_too() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let ask = |method, path| server.endpoint.request(method, path).send();
    let lost = ask(reqwest::Method::GET, "/nowhere").await.unwrap();
    assert_eq!(lost.status(), 404);
    assert_eq!(lost.headers()["content-type"], "application/problem+json");
    let lost: Value = lost.json().await.unwrap();
    assert_eq!(lost["code"], "not_found");

    let wrong = ask(reqwest::Method::DELETE, "/api/v1/me").await.unwrap();
    assert_eq!(wrong.status(), 405);
    assert!(wrong.headers()["allow"].to_str().unwrap().contains("GET"));
    let wrong: Value = wrong.json().await.unwrap();
    assert_eq!(wrong["code"], "method_not_allowed");
}

#[tokio::test]
async fn a_request_keeps_a_sane_id_and_gets_one_otherwise() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let ask = async |id: &str| {
        let request = server.endpoint.request(reqwest::Method::GET, "/nowhere");
        let response = request.header("x-request-id", id).send().await.unwrap();
        let header = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["requestId"], header);
        header
    };
    assert_eq!(ask("trace-17.a").await, "trace-17.a");
    let long = "x".repeat(65);
    for odd in ["a b", "", long.as_str(), "{\"a\":1}"] {
        let made = ask(odd).await;
        assert_ne!(made, odd);
        assert_eq!(made.len(), 36);
    }
}

#[tokio::test]
async fn pages_of_foreign_origins_may_not_call() {
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[("allowed_origins", "https://app.example.org")])
        .await;
    let ask = async |path: &str, origin: &str| {
        let request = server.endpoint.request(reqwest::Method::GET, path);
        request.header("origin", origin).send().await.unwrap()
    };
    let listed = ask("/livez", "https://app.example.org").await;
    assert_eq!(
        listed.headers()["access-control-allow-origin"],
        "https://app.example.org"
    );
    let foreign = ask("/livez", "https://evil.example.org").await;
    assert!(
        !foreign
            .headers()
            .contains_key("access-control-allow-origin")
    );

    let polling = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(ask(polling, "https://evil.example.org").await.status(), 403);
    assert_eq!(ask(polling, "https://app.example.org").await.status(), 200);
    let own = format!("http://{}", server.address);
    assert_eq!(ask(polling, &own).await.status(), 200);
}

/// Sends bytes and reads until the server closes the connection.
async fn talk(address: SocketAddr, said: &[u8]) -> String {
    timeout(DEADLINE, talk_once(address, said))
        .await
        .expect("the server closes the connection")
}

async fn talk_once(address: SocketAddr, said: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse and close before all bytes are sent.
    let _ = stream.write_all(said).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        answer.extend(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn problem(answer: &str) -> Value {
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str(body.trim()).unwrap()
}
