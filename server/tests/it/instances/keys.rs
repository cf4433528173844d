//! Signing keys: shared through the database or the configuration, and replaced while instances run.

use crate::support::{Person, Server, World};
use reqwest::Method;
use roost_server::app::Tokens;
use serde_json::Value;

#[tokio::test]
async fn a_key_is_replaced_while_instances_run_with_different_sets() {
    let world = World::on_postgres_and_redis().await;
    let fresh = Tokens::generate_key().unwrap();
    let fresh = fresh.expose();
    let serve = async |keys: &str| world.serve_one_with(&[("signing_key_pem", keys)]).await;
    let at_first = serve("").await;
    let added = serve(&format!("database\n{fresh}")).await;
    let moved = serve(&format!("{fresh}\ndatabase")).await;
    let removed = serve(fresh).await;

    let old = at_first.person("alice").await;
    let new = moved.person("bob").await;
    for (server, takes_old, takes_new) in [
        (&at_first, true, false),
        (&added, true, true),
        (&moved, true, true),
        (&removed, false, true),
    ] {
        assert_eq!(is_good(&old, server).await, takes_old);
        assert_eq!(is_good(&new, server).await, takes_new);
    }
    let by_added = added.person("carol").await;
    assert!(
        is_good(&by_added, &at_first).await,
        "it only verifies the new one yet"
    );
    assert_eq!(kids(&at_first).await.len(), 1);
    let mut both = kids(&added).await;
    both.reverse();
    assert_eq!(both, kids(&moved).await);
    assert_eq!(both[..1], kids(&removed).await);
}

async fn is_good(person: &Person, server: &Server) -> bool {
    let there = person.at(&server.endpoint);
    let request = there.ask(Method::GET, "/api/v1/me").await;
    let status = request.send().await.unwrap().status();
    assert!(status == 200 || status == 401, "{status}");
    status == 200
}

async fn kids(server: &Server) -> Vec<String> {
    let path = "/.well-known/jwks.json";
    let answer = server.endpoint.request(Method::GET, path).send().await;
    let set: Value = answer.unwrap().json().await.unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}
