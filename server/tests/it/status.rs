//! What a server reports to operators: `/healthz`, `/lb-status`, its metrics, and the instance behind an answer.

use crate::support::{Person, Server, TcpProxy, Via, World, eventually, message, redis_url};
use reqwest::Method;
use roost_schema::RoomId;
use serde_json::{Value, json};
use std::collections::HashSet;

#[tokio::test]
async fn healthz_names_what_the_server_needs() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    eventually(async || report(&server, "/healthz").await.1["status"] == "ok").await;
    let (status, health) = report(&server, "/healthz").await;
    assert_eq!(status, 200);
    assert_eq!(health["reasons"], json!([]));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    for name in ["database", "journal"] {
        let dependency = &health["dependencies"][name];
        assert_eq!(dependency["state"], "ok", "{health}");
        assert!(dependency["latencyMs"].as_f64().unwrap() > 0.0);
    }
    // A server without Redis reports no Redis.
    assert!(health["dependencies"].get("redis").is_none());
}

#[tokio::test]
async fn without_redis_a_server_is_degraded_and_ready() {
    let world = World::on_sqlite().await;
    let proxy = TcpProxy::to(&redis_url()).await;
    let prefix = format!("test-{}", RoomId::generate());
    let url = proxy.url();
    let keys = [
        ("redis_url", url.as_str()),
        ("redis_prefix", prefix.as_str()),
    ];
    let server = world.serve_with(&keys).await;
    let overall = async || report(&server, "/healthz").await.1["status"].clone();
    eventually(async || overall().await == "ok").await;
    assert!(
        report(&server, "/lb-status").await.1["lag"]["canaryMs"]
            .as_f64()
            .is_some()
    );
    proxy.refuse();
    eventually(async || overall().await == "degraded").await;
    let (status, health) = report(&server, "/healthz").await;
    assert_eq!(status, 200);
    assert_eq!(health["dependencies"]["redis"]["state"], "unreachable");
    let text = health.to_string();
    assert!(text.contains("redis does not answer"), "{text}");
    assert!(!text.contains("127.0.0.1"), "no address: {text}");
    eventually(async || report(&server, "/readyz").await.0 == 200).await;
    proxy.mend();
    eventually(async || overall().await == "ok").await;
}

#[tokio::test]
async fn lb_status_counts_what_is_here_and_tells_of_the_drain() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("drain_delay", "3s")]).await;
    eventually(async || report(&server, "/lb-status").await.1["isReady"] == true).await;
    let (_, before) = report(&server, "/lb-status").await;
    assert_eq!(before["sockets"], 0);
    assert_eq!(before["isDraining"], false);
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    alice.socket().await.join(room, None).await.unwrap();
    let (status, now) = report(&server, "/lb-status").await;
    assert_eq!((status, &now["sockets"]), (200, &json!(1)), "{now}");
    assert!(now["rooms"].as_u64().unwrap() >= 1, "{now}");
    assert_eq!(now["socketsLagging"], 0);
    assert_eq!(now["id"], header(&server).await);
    server.begin_stopping();
    eventually(async || report(&server, "/lb-status").await.1["isDraining"] == true).await;
    server.stop().await;
}

#[tokio::test]
async fn every_error_names_its_instance() {
    let world = World::on_cluster_without_redis().await;
    let server = world.serve().await;
    let mut seen = HashSet::new();
    for server in std::iter::once(&server).chain(&server.others) {
        let instance = header(server).await;
        let (_, problem) = report(server, "/nowhere").await;
        assert_eq!(problem["instance"], instance);
        let query = json!({ "query": "{me{id}}" });
        let asked = server
            .endpoint
            .request(Method::POST, "/graphql")
            .json(&query);
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["instance"], instance, "{answer}");
        assert_eq!(extensions["code"], "unauthenticated");
        assert!(seen.insert(instance), "each has an id of its own");
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn metrics_tell_what_was_acknowledged_refused_and_delivered() {
    let world = World::on_sqlite().await;
    let program = world.start_program(&[]).await;
    let begun = program.metrics().await;
    for api in ["rest", "graphql", "socketio"] {
        let line = format!("roost_writes_total{{api=\"{api}\"}} 0\n");
        assert!(begun.contains(&line), "{line} is missing in\n{begun}");
    }
    let alice = Person::register(&program.endpoint, "alice").await;
    let room = alice.board("Plan").await.id;
    for via in [Via::Rest, Via::GraphQl, Via::SocketIo] {
        alice.send(via, room, message("hi")).await.unwrap();
    }
    alice.read_room(RoomId::generate()).await.unwrap_err();
    // Signing in and out does not count as a write.
    let again = alice.sign_in().await;
    again.client().logout().await.unwrap();
    let page = program.metrics().await;
    for expected in [
        // The board, and a message.
        "roost_writes_total{api=\"rest\"} 2\n",
        "roost_writes_total{api=\"graphql\"} 1\n",
        "roost_writes_total{api=\"socketio\"} 1\n",
        "roost_refusals_total{api=\"rest\",code=\"not_found\"} 1\n",
        "roost_deliveries_total{path=\"local\"}",
        "roost_journal_operation_duration_seconds_count{store=\"sqlite\",operation=\"append\"}",
        "roost_journal_batch_entries_bucket{store=\"sqlite\",le=\"1\"}",
        "roost_sockets 1\n",
        "roost_sockets_lagging 0\n",
        "roost_rooms_active ",
        "roost_mailbox_waiting_writes 0\n",
        "roost_build_info{version=",
    ] {
        assert!(page.contains(expected), "{expected} is missing in\n{page}");
    }
    for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap();
        let help = format!("# HELP {name} ");
        assert!(page.contains(&help), "{name} is not described");
    }
}

async fn header(server: &Server) -> String {
    let response = server.endpoint.request(Method::GET, "/livez").send().await;
    let response = response.unwrap();
    let instance = response.headers()["x-roost-instance"].to_str().unwrap();
    instance.to_owned()
}

async fn report(server: &Server, path: &str) -> (u16, Value) {
    let response = server.endpoint.request(Method::GET, path).send().await;
    let response = response.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}
