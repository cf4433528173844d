//! GraphQL: its committed schema, its parity with REST, who may ask for what, its limits and its refusals.

mod access;
mod hostile;
mod http;
mod page;
mod parity;
mod people;
mod slow_store;
mod websocket;

use crate::support::{Person, Server};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

impl Server {
    /// A POST to `/graphql` without a token.
    fn graphql(&self) -> RequestBuilder {
        self.endpoint.request(Method::POST, "/graphql")
    }
}

/// Asks with a token and answers the whole response.
async fn ask(server: &Server, token: &str, query: &str, variables: Value) -> Value {
    let request = json!({ "query": query, "variables": variables });
    let response = server.graphql().bearer_auth(token).json(&request).send();
    response.await.unwrap().json().await.unwrap()
}

async fn token(person: &Person) -> String {
    person.access_token().await.unwrap().expose().to_owned()
}

/// The code of the first error.
#[track_caller]
fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str()
        .unwrap_or_else(|| panic!("an error was due: {answer}"))
}
