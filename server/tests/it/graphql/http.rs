//! GraphQL over HTTP: methods, media types, statuses.

use super::{code, token};
use crate::support::{Server, World};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

const NEWER: &str = "application/graphql-response+json";

#[tokio::test]
async fn the_answer_has_the_media_type_and_status_the_client_understands() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let plain = "application/json; charset=utf-8";
    let newer = "application/graphql-response+json; charset=utf-8";
    for (accept, good, media_type, status_of_bad) in [
        ("application/json", "{__typename}", plain, 200),
        ("*/*", "{__typename}", plain, 200),
        (NEWER, "{__typename}", newer, 400),
        (
            "application/json;q=0.5, application/graphql-response+json",
            "{__typename}",
            newer,
            400,
        ),
        (
            "application/json, application/graphql-response+json;q=0.5",
            "{__typename}",
            plain,
            200,
        ),
    ] {
        for (query, status) in [
            (good, 200),
            ("{me{id}}", 200),
            ("{", status_of_bad),
            ("{nothing}", status_of_bad),
            ("subscription{roomEvents(room:\"x\"){live}}", status_of_bad),
        ] {
            let request = server.graphql().header(header::ACCEPT, accept);
            let response = request
                .json(&json!({ "query": query }))
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), status, "{accept} {query}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], media_type);
            let body: Value = response.json().await.unwrap();
            // Only the answer to an executed request has `data`, even if it is null.
            let is_executed = query == good || query == "{me{id}}";
            assert_eq!(body.get("data").is_some(), is_executed, "{body}");
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn a_request_that_cannot_be_read_is_refused() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let json = "application/json";
    for (media_type, body, status, expected) in [
        (json, "", 400, "malformed"),
        (json, "{", 400, "malformed"),
        (json, "7", 400, "malformed"),
        (json, "{}", 400, "malformed"),
        (json, r#"{"query":7}"#, 400, "malformed"),
        (
            json,
            r#"{"query":"{__typename}","variables":[]}"#,
            400,
            "malformed",
        ),
        (
            json,
            r#"{"query":"{__typename}","variables":"{}"}"#,
            400,
            "malformed",
        ),
        (
            json,
            r#"{"query":"{__typename}","operationName":{}}"#,
            400,
            "malformed",
        ),
        (
            json,
            r#"{"query":"{__typename}","extensions":7}"#,
            400,
            "malformed",
        ),
        (
            json,
            r#"[{"query":"{__typename}"},{"query":"{__typename}"}]"#,
            400,
            "malformed",
        ),
        (
            "text/plain",
            r#"{"query":"{__typename}"}"#,
            415,
            "unsupported_media_type",
        ),
        (
            "application/json; charset=latin1",
            r#"{"query":"{__typename}"}"#,
            415,
            "unsupported_media_type",
        ),
        (
            "multipart/form-data; boundary=x",
            "--x--",
            415,
            "unsupported_media_type",
        ),
        (
            "application/x-www-form-urlencoded",
            "query=%7B__typename%7D",
            415,
            "unsupported_media_type",
        ),
    ] {
        let request = server.graphql().header(header::CONTENT_TYPE, media_type);
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), status, "{media_type} {body}");
        let id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(code(&answer), expected, "{media_type} {body}");
        assert_eq!(answer["errors"][0]["extensions"]["requestId"], id);
    }
    let nothing_said = server.graphql().body(r#"{"query":"{__typename}"}"#);
    let response = nothing_said.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let put = server.endpoint.request(Method::PUT, "/graphql").send();
    assert_eq!(put.await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    let huge = json!({ "query": "{__typename}", "variables": { "x": "x".repeat(2 << 20) } });
    let response = server.graphql().json(&huge).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn get_asks_and_never_changes() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let alice = server.alice().await;
    let token = token(&alice).await;

    let response = get(&server, &token, &[("query", "{me{name}}")]).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"]["me"]["name"], "alice");

    let variables = [
        (
            "query",
            "query A($q: String!) {searchUsers(query: $q){name}} query B {me{id}}",
        ),
        ("operationName", "A"),
        ("variables", r#"{"q":"alice@example.org"}"#),
    ];
    let answer: Value = get(&server, &token, &variables).await.json().await.unwrap();
    assert_eq!(
        answer["data"]["searchUsers"][0]["name"], "alice",
        "{answer}"
    );

    let make = r#"mutation M {createBoard(input:{title:"By GET"}){id}} query Q {me{id}}"#;
    for query in [
        &[("query", make), ("operationName", "M")][..],
        &[(
            "query",
            r#"mutation {createBoard(input:{title:"By GET"}){id}}"#,
        )],
    ] {
        let response = get(&server, &token, query).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(code(&answer), "method_not_allowed");
    }
    let ambiguous = get(&server, &token, &[("query", make)]).await;
    let answer: Value = ambiguous.json().await.unwrap();
    assert_eq!(code(&answer), "malformed");
    let page = alice.list_rooms(&roost_schema::PageQuery::default()).await;
    assert_eq!(page.unwrap().items, []);

    for wrong in [&[][..], &[("query", "{me{id}}"), ("variables", "[]")]] {
        let response = get(&server, &token, wrong).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{wrong:?}");
    }
}

async fn get(server: &Server, token: &str, parameters: &[(&str, &str)]) -> Response {
    let request = server.endpoint.request(Method::GET, "/graphql");
    let request = request.query(parameters).bearer_auth(token);
    request.send().await.unwrap()
}
