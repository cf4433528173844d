//! The registry: instances know each other, and two that could not receive each other's messages do not run together.

use crate::support::{World, in_time};
use reqwest::Method;
use roost_server::boot::boot;
use std::time::Instant;

#[tokio::test]
async fn instances_know_each_other_until_they_end() {
    let world = World::on_postgres_and_redis().await;
    let one = world.serve_one_with(&[("instance_name", "one")]).await;
    let two = world.serve_one_with(&[("instance_name", "two")]).await;
    let others = async || one.app.list_other_instances().await.unwrap();
    let [other] = others().await.try_into().unwrap();
    assert_eq!((other.name.as_str(), other.has_redis), ("two", true));
    assert_eq!(other.id, two.app.instance().id);
    assert_eq!(two.app.list_other_instances().await.unwrap()[0].name, "one");
    two.stop().await;
    assert_eq!(others().await, [], "it ended in order");
}

#[tokio::test]
async fn a_second_instance_without_redis_is_refused_and_starts_when_the_first_has_ended() {
    let world = World::on_postgres().await;
    let first = world.serve_one_with(&[("instance_name", "first")]).await;
    // One instance without Redis is enough to separate the two.
    let with_redis = [("redis_url", "redis://127.0.0.1:9/")];
    let (second, third) = tokio::join!(boot(world.config(&[])), boot(world.config(&with_redis)),);
    for refused in [second, third] {
        let refusal = refused
            .err()
            .expect("they would not hear each other")
            .to_string();
        assert!(refusal.contains("\"first\""), "{refusal}");
        assert!(refusal.contains("redis_url"), "{refusal}");
    }
    let status = first.endpoint.request(Method::GET, "/livez").send().await;
    assert_eq!(status.unwrap().status(), 200, "the first goes on");

    let asked = Instant::now();
    let ((), started) = tokio::join!(first.stop(), boot(world.config(&[])));
    let started = started.unwrap();
    assert!(
        asked.elapsed() < roost_server::store::LEASE,
        "it need not wait for a lease"
    );
    let second = world.serve_one_with(&with_redis);
    drop(started);
    // A new instance waits for one lease when its predecessor ended as by kill -9.
    second.await.stop().await;
}

#[tokio::test]
async fn a_restart_on_sqlite_waits_for_nobody() {
    let world = World::on_sqlite().await;
    let crashed = world.serve().await;
    let id = crashed.app.instance().id;
    drop(crashed);
    let again = async || boot(world.config(&[])).await.ok();
    let asked = Instant::now();
    // The lock on the file is released when the last task of the predecessor ends.
    let server = in_time(Box::pin(async {
        loop {
            match again().await {
                Some(server) => return server,
                None => tokio::task::yield_now().await,
            }
        }
    }))
    .await;
    assert!(asked.elapsed() < roost_server::store::LEASE);
    assert_ne!(server.app.instance().id, id);
    assert_eq!(server.app.list_other_instances().await.unwrap(), []);
}
