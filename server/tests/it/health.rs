//! The answers about a server's liveness and readiness, and how they change when it stops.

use crate::support::{Via, World, eventually, message};
use reqwest::Method;
use serde_json::Value;
use std::net::SocketAddr;

#[tokio::test]
async fn a_server_becomes_ready_and_a_draining_one_is_not() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("drain_delay", "1s")]).await;
    let status = async |path: &str| {
        let response = server.endpoint.request(Method::GET, path).send().await;
        response.unwrap().status().as_u16()
    };
    assert_eq!(status("/livez").await, 200);
    eventually(async || status("/readyz").await == 200).await;

    server.begin_stopping();
    eventually(async || status("/readyz").await == 503).await;
    assert_eq!(status("/livez").await, 200, "it still answers");
    let response = server.endpoint.request(Method::GET, "/readyz").send();
    let problem: Value = response.await.unwrap().json().await.unwrap();
    assert_eq!(problem["code"], "unavailable");
    server.stop().await;
}

#[tokio::test]
async fn metrics_stand_on_a_listener_of_their_own() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("metrics_listen", "127.0.0.1:0")]).await;
    let lost = server.endpoint.request(Method::GET, "/metrics").send();
    assert_eq!(lost.await.unwrap().status(), 404);

    let private = server.metrics_address.unwrap();
    let page = reqwest::get(format!("http://{private}/metrics"));
    let page = page.await.unwrap().text().await.unwrap();
    for expected in [
        r#"roost_http_requests_total{method="GET",route="unmatched",status="404"}"#,
        "roost_http_request_duration_seconds_bucket",
        "process_resident_memory_bytes",
    ] {
        assert!(page.contains(expected), "{expected} is missing in\n{page}");
    }
}

/// A web page whose name is made to resolve to 127.0.0.1 calls the servers of a developer's machine by that name.
#[tokio::test]
async fn on_loopback_a_page_of_another_name_reads_nothing_of_the_server() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("metrics_listen", "127.0.0.1:0")]).await;
    let private = server.metrics_address.unwrap();
    let ask = async |address: SocketAddr, path: &str, host: &str| {
        let request = reqwest::Client::new().get(format!("http://{address}{path}"));
        let answer = request.header("host", host).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for (address, path) in [
        (private, "/metrics"),
        (server.address, "/healthz"),
        (server.address, "/lb-status"),
    ] {
        for host in [
            "localhost",
            "LOCALHOST.:9464",
            "roost.localhost",
            "127.0.0.1",
            "[::1]:80",
        ] {
            let (status, body) = ask(address, path, host).await;
            assert_ne!(status, 403, "{path} for {host}: {body}");
        }
        for host in ["evil.example", "localhost.evil.example:9464"] {
            let (status, body) = ask(address, path, host).await;
            assert_eq!(status, 403, "{path} for {host}");
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["code"], "forbidden");
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.starts_with("the Host header must be localhost"),
                "{detail}"
            );
        }
    }
    // A load balancer asks by a name of its own, and a proxy passes on the name by which clients call.
    for (path, expected) in [("/livez", 200), ("/api/v1/me", 401)] {
        assert_eq!(ask(server.address, path, "chat.example").await.0, expected);
    }
    eventually(async || ask(server.address, "/readyz", "chat.example").await.0 == 200).await;
}

#[tokio::test]
async fn the_program_serves_survives_a_kill_and_stops_in_order() {
    let world = World::on_sqlite().await;
    let mut program = world.start_program(&[]).await;
    let second = program.run(&["migrate"]).await;
    assert!(!second.status.success(), "another process has the database");

    let alice = crate::support::Person::register(&program.endpoint, "alice").await;
    let board = alice.board("Plan").await;
    let sent = alice
        .send(Via::Rest, board.id, message("hello"))
        .await
        .unwrap();
    program.kill();
    program.start_again().await;
    let read = alice.read_message(board.id, sent.id).await.unwrap();
    assert_eq!(read, sent, "acknowledged is durable");

    assert!(program.terminate().await.success());
    assert!(!program.run(&["health"]).await.status.success());
    assert!(program.run(&["migrate"]).await.status.success());
    let epoch = program.run(&["journal", "new-epoch"]).await;
    assert!(epoch.status.success());
    assert!(
        String::from_utf8(epoch.stdout)
            .unwrap()
            .contains("epoch is now")
    );
}
