//! REST: what only it has. The stories for all transports are in `transports.rs`.

pub(crate) mod access;
mod conditions;
mod document;
mod hostile;
mod items;
mod stream;
mod tokens;

use reqwest::{RequestBuilder, Response};
use roost_schema::ErrorCode;
use serde_json::Value;

/// Sends a request that must be refused, and checks the problem document of the refusal.
#[track_caller]
fn refused(request: RequestBuilder) -> impl Future<Output = ErrorCode> {
    let caller = std::panic::Location::caller();
    async move {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let context = format!("{caller}: {status} {text}");
        assert_eq!(
            headers["content-type"], "application/problem+json",
            "{context}"
        );
        let problem: Value = serde_json::from_str(&text).expect(&context);
        let code: ErrorCode = serde_json::from_value(problem["code"].clone()).expect(&context);
        let kind = format!("urn:roost:error:{}", code.as_str());
        assert_eq!(problem["type"], kind, "{context}");
        assert_eq!(status, code.http_status(), "{context}");
        assert_eq!(problem["status"], status, "{context}");
        assert_eq!(
            problem["requestId"],
            headers["x-request-id"].to_str().unwrap(),
            "{context}"
        );
        assert!(problem["detail"].is_string() && problem["title"].is_string());
        code
    }
}

/// Sends a request that must be answered with this status.
#[track_caller]
fn answered(request: RequestBuilder, status: u16) -> impl Future<Output = Response> {
    let caller = std::panic::Location::caller();
    async move {
        let answer = request.send().await.unwrap();
        if answer.status().as_u16() == status {
            return answer;
        }
        let given = answer.status();
        panic!("{caller}: {given} {}", answer.text().await.unwrap());
    }
}

async fn json(request: RequestBuilder, status: u16) -> Value {
    answered(request, status).await.json().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers()[name].to_str().unwrap()
}
