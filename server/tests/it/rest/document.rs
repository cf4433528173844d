//! The served `OpenAPI` document, and the page that shows it.

use super::{answered, json};
use crate::support::World;
use reqwest::Method;
use roost_server::transport::openapi_json;
use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(&openapi_json()).unwrap()
}

#[tokio::test]
async fn the_document_that_is_served_is_the_one_that_is_committed() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let request = server.endpoint.request(Method::GET, "/api/v1/openapi.json");
    assert_eq!(json(request, 200).await, document());
    assert!(openapi_json().ends_with("}\n"));
}

#[tokio::test]
async fn the_reference_page_needs_no_internet() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let page = async |path: &str| {
        let request = server.endpoint.request(Method::GET, path);
        answered(request, 200).await.text().await.unwrap()
    };
    let html = page("/api/reference/").await;
    for quoted in html.split('"').skip(1).step_by(2) {
        assert!(!quoted.contains("//"), "{quoted} is elsewhere");
        if quoted.starts_with("./") {
            page(&format!(
                "/api/reference/{}",
                quoted.trim_start_matches("./")
            ))
            .await;
        }
    }
    let start = page("/api/reference/swagger-initializer.js").await;
    assert!(start.contains("/api/v1/openapi.json"), "{start}");
}

#[test]
fn every_operation_is_described() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let context = format!("{method} {path}");
            for part in ["operationId", "summary"] {
                assert!(operation[part].is_string(), "{context} has no {part}");
            }
            let tag = &operation["tags"][0];
            let tags = document["tags"].as_array().unwrap();
            assert!(
                tags.iter().any(|known| known["name"] == *tag),
                "{context}: {tag}"
            );
            let responses = operation["responses"].as_object().unwrap();
            let successes: Vec<_> = responses.keys().filter(|it| it.starts_with('2')).collect();
            assert_eq!(successes.len(), 1, "{context}: {successes:?}");
            for (status, response) in responses {
                let is_problem = response["$ref"] == "#/components/responses/Problem";
                assert_eq!(is_problem, status.as_str() >= "400", "{context} {status}");
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_input_is_closed() {
    let document = document();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.trim_start_matches('#');
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let Some(body) = operation["requestBody"].as_object() else {
                continue;
            };
            assert_eq!(body["required"], true);
            let schema = &body["content"]["application/json"]["schema"];
            let input = document.pointer(schema["$ref"].as_str().unwrap().trim_start_matches('#'));
            let input = input.unwrap();
            let shapes = input["anyOf"].as_array().or(input["oneOf"].as_array());
            for shape in shapes.map_or(std::slice::from_ref(input), Vec::as_slice) {
                assert_eq!(
                    shape["additionalProperties"], false,
                    "{}",
                    operation["operationId"]
                );
            }
        }
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "$ref" => references.push(text.to_owned()),
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
