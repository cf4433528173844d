//! A real cluster behind Caddy: Engine.IO sessions reach their instance, and instances come and go unnoticed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::{Client, POLL, WEBSOCKET, read};
use super::eventually;
use roost_testbed::cluster::{Cluster, Options, Redis};
use roost_testbed::roost;
use roost_testbed::servers::require_xtask_test;

/// Each within what one address may ask a second.
const CALLERS: u8 = 5;
const CALL_EVERY: Duration = Duration::from_millis(50);
/// How many calls each fault must see before, and after, to mean anything.
const CALLS_MIN: u64 = 100;

fn start(redis: Redis) -> Cluster {
    require_xtask_test();
    Cluster::start(Options {
        // Slow, and nothing here depends on where the journal is.
        mongodb: false,
        redis,
        ..Options::new(roost::build(true).unwrap())
    })
    .unwrap()
}

/// A session opened by poll, its WebSocket asked for without the cookie or with it.
async fn open_session(client: &mut Client, keeps_cookies: bool) {
    let opened = client.get(POLL).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let handshake: Value = serde_json::from_str(opened.body.trim_start_matches('0')).unwrap();
    let sid = handshake["sid"].as_str().unwrap();
    client.cookie = opened.cookie().filter(|_| keeps_cookies);
    let of_session = |path: &str| format!("{path}&sid={sid}");
    for _ in 0..3 {
        // A second CONNECT is answered like the first; another instance knows no such session.
        let posted = client.post(&of_session(POLL), "40{}").await;
        assert_eq!((posted.status, posted.body.as_str()), (200, "ok"));
        assert_eq!(client.get(&of_session(POLL)).await.status, 200);
    }
    let upgraded = client.upgrade(&of_session(WEBSOCKET)).await;
    assert_eq!(upgraded.status(), 101);
}

/// The sum of a counter over its labels, on each instance.
fn on_each(cluster: &Cluster, counter: &str, label: &str) -> Vec<f64> {
    let sum = |text: String| {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(counter) && line.contains(label));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    (0..cluster.instances().len())
        .map(|index| sum(cluster.metrics(index).unwrap()))
        .collect()
}

#[tokio::test]
async fn sessions_reach_their_instance_with_and_without_cookies() {
    let cluster = start(Redis::Running);
    for number in 1..=16 {
        for keeps_cookies in [true, false] {
            open_session(&mut Client::new(cluster.url(), number), keeps_cookies).await;
        }
        let opened = Client::new(cluster.url(), number).upgrade(WEBSOCKET).await;
        assert_eq!(opened.status(), 101);
    }
    let sessions = on_each(&cluster, "roost_http_requests_total", "socket.io");
    let reached = sessions.iter().filter(|count| **count > 0.0).count();
    assert!(reached >= 2, "{sessions:?}");
    cluster.stop().unwrap();
}

/// Callers that ask for something all the time, and count what failed.
struct Traffic {
    calls: Arc<AtomicU64>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Traffic {
    fn start(url: &str) -> Self {
        let mut traffic = Self {
            calls: Arc::default(),
            failures: Arc::default(),
            is_over: Arc::default(),
            callers: JoinSet::new(),
        };
        for number in 1..=CALLERS {
            let client = Client::new(url, number);
            let (calls, failures) = (Arc::clone(&traffic.calls), Arc::clone(&traffic.failures));
            let is_over = Arc::clone(&traffic.is_over);
            traffic.callers.spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    if let Some(failure) = call(&client).await {
                        failures.lock().unwrap().push(failure);
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(CALL_EVERY).await;
                }
            });
        }
        traffic
    }

    /// Waits until everybody has asked some more.
    async fn go_on(&self) {
        let wanted = self.calls.load(Ordering::SeqCst) + CALLS_MIN;
        eventually("calls are made", async || {
            self.calls.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }

    async fn assert_none_failed(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        let failures = self.failures.lock().unwrap();
        assert!(
            failures.is_empty(),
            "{} failed: {failures:#?}",
            failures.len()
        );
    }
}

/// A read and a write, of which each is answered by the rules and not by what happens to an instance.
async fn call(client: &Client) -> Option<String> {
    let body = r#"{"query":"{ __typename }"}"#;
    let write = client.request(Method::POST, "/graphql").body(body);
    let write = write.header("content-type", "application/json");
    for (request, expected) in [
        (client.request(Method::GET, "/api/v1/me"), 401),
        (write, 200),
    ] {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Some(format!("{error:?}")),
        };
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        if status != expected {
            return Some(format!("{status}: {text}"));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_and_a_fourth_instance_fail_no_request() {
    let mut cluster = start(Redis::Running);
    let traffic = Traffic::start(cluster.url());
    for index in 0..cluster.instances().len() {
        traffic.go_on().await;
        cluster.terminate(index).unwrap();
        traffic.go_on().await;
        cluster.restart(index).unwrap();
    }
    let added = cluster.add_instance().unwrap();
    eventually("the fourth is asked", async || {
        on_each(&cluster, "roost_http_requests_total", "graphql")[added] > 0.0
    })
    .await;
    traffic.go_on().await;
    traffic.assert_none_failed().await;
    cluster.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_is_missed_by_nobody_who_asks_again_also_without_redis() {
    let mut cluster = start(Redis::Off);
    cluster.kill_nine(0).unwrap();
    // From here on every request is new: none was on its way when the instance died.
    let traffic = Traffic::start(cluster.url());
    traffic.go_on().await;
    cluster.restart(0).unwrap();
    traffic.go_on().await;
    traffic.assert_none_failed().await;
    let mut names = HashSet::new();
    for number in 1..=16 {
        let opened = read(Client::new(cluster.url(), number).request(Method::GET, POLL)).await;
        names.insert(opened.cookie());
    }
    assert!(names.len() >= 2);
    cluster.stop().unwrap();
}
