//! Two releases side by side: formats that the older one would misread wait for it, and the older one waits until its
//! peers know of it.

use super::peers::{TAKE_RENEWALS, refuse_renewals};
use crate::support::{Server, World, eventually, in_time};
use reqwest::{Method, StatusCode};
use roost_schema::InstanceId;
use roost_server::{boot::boot, live::SPEAKS};
use serde_json::{Value, json};
use std::cell::Cell;

#[tokio::test]
async fn what_an_older_instance_would_misread_waits_until_that_has_left() {
    let world = World::on_postgres_and_redis().await;
    let one = world.serve_one_with(&[("instance_name", "one")]).await;
    let two = world.serve_one_with(&[("instance_name", "two")]).await;
    for server in [&one, &two] {
        eventually(async || server.app.speaks(SPEAKS)).await;
        assert!(!server.app.speaks(SPEAKS + 1), "it does not speak that");
    }
    let peer = json!({ "instance": two.app.instance_id(), "speaks": SPEAKS, "holdsBack": false });
    let together = json!({ "own": SPEAKS, "used": SPEAKS, "peers": [peer] });
    eventually(async || speaks(&one).await == together).await;

    // What an older instance left in the database counts for a day after it was last registered.
    world.run("UPDATE spoken_since SET since_us = 0").await;
    // Registered as the previous release does, which does not know the column.
    let older = register(&world, "older", None).await;
    for server in [&one, &two] {
        eventually(async || !server.app.speaks(SPEAKS)).await;
        assert!(server.app.speaks(0));
    }
    let health = speaks(&one).await;
    assert_eq!(
        (&health["own"], &health["used"]),
        (&json!(SPEAKS), &json!(0))
    );
    let holding = json!({ "instance": older, "speaks": 0, "holdsBack": true });
    assert!(
        health["peers"].as_array().unwrap().contains(&holding),
        "{health}"
    );
    let noted = format!("SELECT number FROM spoken_since WHERE since_us > {NOW} - 60000000");
    let numbers = usize::try_from(SPEAKS).unwrap();
    eventually(async || world.count(&noted).await == numbers).await;
    let examined = world.run_program(&[], &["doctor"]).await;
    let page = String::from_utf8(examined.stdout).unwrap();
    assert!(page.contains("older (0.0.9, speaks 0)"), "{page}");
    assert!(page.contains("held back on all instances"), "{page}");

    world
        .run("DELETE FROM instances WHERE name = 'older'")
        .await;
    for server in [&one, &two] {
        eventually(async || server.app.speaks(SPEAKS)).await;
    }
}

#[tokio::test]
async fn what_is_known_of_the_others_counts_for_four_seconds() {
    let world = World::on_postgres_and_redis().await;
    let (proxy, server) = world.serve_one_by_proxy().await;
    eventually(async || server.app.speaks(SPEAKS)).await;
    proxy.freeze();
    eventually(async || !server.app.speaks(SPEAKS)).await;
    assert!(!server.app.fence().is_shut(), "it is alone, and goes on");
    proxy.mend();
    eventually(async || server.app.speaks(SPEAKS)).await;
}

#[tokio::test]
async fn an_older_instance_serves_only_when_the_newer_ones_know_of_it() {
    let world = World::on_postgres_and_redis().await;
    let newer = register(&world, "newer", Some(SPEAKS + 1)).await;
    let has_started = Cell::new(false);
    let starting = async {
        let booted = Box::pin(boot(world.config(&[("instance_name", "own")]))).await;
        has_started.set(true);
        booted.unwrap()
    };
    // The instance renews its lease while it waits, longer than its peers' reading of the registry is valid.
    let waited = "SELECT 1 AS one FROM instances
                  WHERE name = 'own' AND lease_us > started_us + 16000000";
    let watching = async {
        eventually(async || {
            assert!(!has_started.get(), "nobody knows of it");
            world.count(waited).await == 1
        })
        .await;
        renew(&world, newer).await;
    };
    drop(in_time(async { tokio::join!(starting, watching) }).await);
}

#[tokio::test]
async fn one_that_registers_again_waits_as_well() {
    let world = World::on_postgres_and_redis().await;
    let healthy = world.serve_one_with(&[]).await;
    let own = world.serve_one_with(&[("instance_name", "own")]).await;
    for server in [&healthy, &own] {
        eventually(async || ready(server).await == StatusCode::OK).await;
    }
    let refusal = refuse_renewals(own.app.instance_id());
    world.run(&refusal).await;
    eventually(async || own.app.fence().is_shut()).await;
    let newer = register(&world, "newer", Some(SPEAKS + 1)).await;
    let again = format!("SELECT 1 AS one FROM instances WHERE name = 'own' AND lease_us > {NOW}");
    eventually(async || world.count(&again).await == 0).await;
    world.run(TAKE_RENEWALS).await;
    eventually(async || world.count(&again).await == 1).await;
    // The instance renews its lease while it waits.
    let waited = format!(
        "SELECT 1 AS one FROM instances WHERE name = 'own' AND lease_us > {NOW} + 9000000
         AND EXISTS (SELECT 1 FROM instances WHERE name = 'newer' AND lease_us < {NOW} + 45000000)"
    );
    eventually(async || {
        assert!(
            own.app.fence().is_shut(),
            "the newer one does not know of it"
        );
        world.count(&waited).await == 1
    })
    .await;
    renew(&world, newer).await;
    eventually(async || ready(&own).await == StatusCode::OK).await;
}

/// Inserts the row of an instance that does not run, with a lease of a minute; without a number as the previous release
/// does.
async fn register(world: &World, name: &str, speaks: Option<u32>) -> InstanceId {
    let id = InstanceId::generate();
    let (column, number) = speaks.map_or_else(Default::default, |number| {
        (", speaks", format!(", {number}"))
    });
    let sql = format!(
        "INSERT INTO instances (id, name, version, has_redis, started_us, lease_us{column})
         VALUES ('{id}', '{name}', '0.0.9', true, {NOW}, {NOW} + 60000000{number})"
    );
    world.run(&sql).await;
    id
}

/// The database's clock.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

async fn renew(world: &World, instance: InstanceId) {
    let sql = format!("UPDATE instances SET lease_us = {NOW} + 61000000 WHERE id = '{instance}'");
    world.run(&sql).await;
}

async fn speaks(server: &Server) -> Value {
    let asked = server
        .endpoint
        .request(Method::GET, "/healthz")
        .send()
        .await;
    let report: Value = asked.unwrap().json().await.unwrap();
    report["speaks"].clone()
}

async fn ready(server: &Server) -> StatusCode {
    let answer = server.endpoint.request(Method::GET, "/readyz").send().await;
    answer.unwrap().status()
}
