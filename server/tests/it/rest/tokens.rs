//! Invalid access tokens: expired, forged, revoked, or issued for another purpose.

use super::{answered, json, refused};
use crate::support::{Server, World};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, RequestBuilder};
use roost_schema::{ErrorCode, Secret};
use roost_server::app::Tokens;
use serde_json::{Value, json};

/// A server whose signing key the test knows.
pub(super) async fn serve() -> (World, Server, Secret) {
    let world = World::on_sqlite().await;
    let key = Tokens::generate_key().unwrap();
    let server = world.serve_with(&[("signing_key_pem", key.expose())]).await;
    (world, server, key)
}

/// The same token with some claims changed, signed with this key.
pub(super) fn reissued(token: &str, key: &Secret, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = part(token, 1);
    change(&mut claims);
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = part(token, 0)["kid"].as_str().map(str::to_owned);
    let key = EncodingKey::from_ed_pem(key.expose().as_bytes()).unwrap();
    encode(&header, &claims, &key).unwrap()
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64URL.decode(text).unwrap()).unwrap()
}

fn seconds_from_now(seconds: i64) -> i64 {
    chrono::Utc::now().timestamp() + seconds
}

#[tokio::test]
async fn only_a_living_token_of_ours_opens_anything() {
    let (_world, server, key) = serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let token = alice.access_token().await.unwrap();
    let token = token.expose();
    let as_it_was = reissued(token, &key, |_| {});
    answered(me(&server, &as_it_was), 200).await;

    let stranger = Tokens::generate_key().unwrap();
    let signature = token.rsplit_once('.').unwrap().1;
    let claims = token.split('.').nth(1).unwrap();
    let unsigned = BASE64URL.encode(json!({ "alg": "none", "typ": "JWT" }).to_string());
    let bobs = reissued(token, &stranger, |claims| {
        claims["sub"] = json!(bob.id());
    });
    let bad = [
        String::new(),
        "x".into(),
        "x.y.z".into(),
        "x".repeat(7_000),
        // Expired, by more than clocks may differ.
        reissued(token, &key, |claims| {
            claims["exp"] = json!(seconds_from_now(-60));
        }),
        // Forged: another key, another payload under the same signature, no signature.
        reissued(token, &stranger, |_| {}),
        bobs.clone(),
        format!("{}.{signature}", bobs.rsplit_once('.').unwrap().0),
        format!("{unsigned}.{claims}."),
        format!("{unsigned}.{claims}.{signature}"),
        // Signed by the server's key, but for another purpose.
        reissued(token, &key, |claims| claims["aud"] = json!("another")),
        reissued(token, &key, |claims| claims["iss"] = json!("another")),
        reissued(token, &key, |claims| claims["aud"] = json!(7)),
        reissued(token, &key, |claims| claims["sub"] = json!("alice")),
        without(token, &key, "exp"),
        without(token, &key, "sid"),
    ];
    for bad in bad {
        assert_eq!(
            refused(me(&server, &bad)).await,
            ErrorCode::Unauthenticated,
            "{bad}"
        );
    }
    for authorization in ["Basic YTpi", "Bearer", &format!("Token {token}"), token] {
        let request = server.endpoint.request(Method::GET, "/api/v1/me");
        let request = request.header("authorization", authorization);
        assert_eq!(refused(request).await, ErrorCode::Unauthenticated);
    }
    let answer = me(&server, "x").send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn a_revoked_session_opens_nothing_and_changes_nothing() {
    let (_world, server, _key) = serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let before = alice.list_events(room, None).await.unwrap();
    let other = alice.sign_in().await;
    let session = other.signed_in().session.id;
    alice.revoke_session(session).await.unwrap();

    assert_eq!(
        refused(other.ask(Method::GET, "/api/v1/me").await).await,
        ErrorCode::SessionRevoked
    );
    let path = format!("/api/v1/rooms/{room}/messages");
    let request = other
        .ask(Method::POST, &path)
        .await
        .json(&json!({ "text": "hello" }));
    assert_eq!(refused(request).await, ErrorCode::SessionRevoked);
    let refresh = other.signed_in().refresh_token;
    let request = server
        .endpoint
        .request(Method::POST, "/api/v1/auth/refresh");
    let request = request.json(&json!({ "refreshToken": refresh.expose() }));
    assert_eq!(refused(request).await, ErrorCode::SessionRevoked);
    assert_eq!(alice.list_events(room, None).await.unwrap(), before);
}

#[tokio::test]
async fn the_published_key_is_the_one_that_signs() {
    let (_world, server, _key) = serve().await;
    let alice = server.alice().await;
    let request = server
        .endpoint
        .request(Method::GET, "/.well-known/jwks.json");
    let keys = json(request, 200).await;
    let token = alice.access_token().await.unwrap();
    assert_eq!(keys["keys"][0]["kid"], part(token.expose(), 0)["kid"]);
    assert!(
        keys["keys"][0].get("d").is_none(),
        "a private key is published"
    );
}

fn without(token: &str, key: &Secret, claim: &str) -> String {
    reissued(token, key, |claims| {
        claims.as_object_mut().unwrap().remove(claim);
    })
}

fn me(server: &Server, token: &str) -> RequestBuilder {
    server
        .endpoint
        .request(Method::GET, "/api/v1/me")
        .bearer_auth(token)
}
