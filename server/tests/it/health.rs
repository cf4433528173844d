//! The answers about a server's liveness and readiness, and how they change when it stops.

use crate::support::{Via, World, eventually, message};
use reqwest::Method;
use serde_json::Value;

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
