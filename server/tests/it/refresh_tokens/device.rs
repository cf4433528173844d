//! A device that exchanges refresh tokens: its address, its program, and the transport it asks over.

use crate::support::Server;
use chrono::{DateTime, Utc};
use reqwest::{Method, RequestBuilder, header::USER_AGENT};
use roost_client::Endpoint;
use roost_schema::{ErrorCode, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

/// The transports that exchange refresh tokens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Api {
    Rest,
    Graphql,
}

impl Api {
    pub(super) const ALL: [Self; 2] = [Self::Rest, Self::Graphql];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Graphql => "graphql",
        }
    }
}

#[derive(Clone)]
pub(super) struct Device {
    endpoint: Endpoint,
    agent: &'static str,
}

/// What an exchange answers.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) refresh_token: Secret,
    pub(super) access_token: Secret,
    pub(super) reused_elsewhere_at: Option<DateTime<Utc>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

const FIELDS: &str = "refreshToken accessToken session { reusedElsewhereAt }";

impl Device {
    /// A device at this host.
    pub(super) fn at(server: &Server) -> Self {
        Self {
            endpoint: server.endpoint.clone(),
            agent: "phone/1.0",
        }
    }

    /// The same program at another address.
    pub(super) fn from(&self, address: [u8; 4]) -> Self {
        Self {
            endpoint: self.endpoint.from_address(address.into()).unwrap(),
            ..self.clone()
        }
    }

    /// Another program at the same address.
    pub(super) fn with(&self, agent: &'static str) -> Self {
        Self {
            agent,
            ..self.clone()
        }
    }

    pub(super) async fn exchange(&self, api: Api, token: &Secret) -> Result<Exchanged, Refusal> {
        let input = json!({ "refreshToken": token.expose() });
        match api {
            Api::Rest => rest(self.request("/api/v1/auth/refresh").json(&input)).await,
            Api::Graphql => {
                let query = format!(
                    "mutation($input: Refresh!) {{ done: refresh(input: $input) {{ {FIELDS} }} }}"
                );
                graphql(self.request("/graphql"), &query, &input).await
            }
        }
    }

    pub(super) async fn refusal(&self, api: Api, token: &Secret) -> Refusal {
        self.exchange(api, token).await.unwrap_err()
    }

    pub(super) async fn change_password(
        &self,
        api: Api,
        token: &Secret,
        input: &Value,
    ) -> Exchanged {
        let signed_in = |path| self.request(path).bearer_auth(token.expose());
        let changed = match api {
            Api::Rest => rest(signed_in("/api/v1/auth/password").json(input)).await,
            Api::Graphql => {
                let query = format!(
                    "mutation($input: ChangePassword!) {{ done: changePassword(input: $input) {{ {FIELDS} }} }}"
                );
                graphql(signed_in("/graphql"), &query, input).await
            }
        };
        changed.unwrap()
    }

    /// The code with which `GET /me` refuses an access token; empty when it answers.
    pub(super) async fn read_me(&self, token: &Secret) -> String {
        let request = self.endpoint.request(Method::GET, "/api/v1/me");
        let answer = request.bearer_auth(token.expose()).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["code"].as_str().unwrap_or_default().to_owned()
    }

    fn request(&self, path: &str) -> RequestBuilder {
        let request = self.endpoint.request(Method::POST, path);
        request.header(USER_AGENT, self.agent)
    }
}

async fn rest(request: RequestBuilder) -> Result<Exchanged, Refusal> {
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    if answer["code"].is_string() {
        return Err(refused(&answer["code"], &answer["detail"]));
    }
    Ok(exchanged(&answer))
}

async fn graphql(
    request: RequestBuilder,
    query: &str,
    input: &Value,
) -> Result<Exchanged, Refusal> {
    let asked = json!({ "query": query, "variables": { "input": input } });
    let answer = request.json(&asked).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let error = &answer["errors"][0];
    if error.is_object() {
        return Err(refused(&error["extensions"]["code"], &error["message"]));
    }
    Ok(exchanged(&answer["data"]["done"]))
}

fn exchanged(answer: &Value) -> Exchanged {
    let read = |field: &str| Secret::deserialize(&answer[field]).unwrap();
    let reused = &answer["session"]["reusedElsewhereAt"];
    Exchanged {
        refresh_token: read("refreshToken"),
        access_token: read("accessToken"),
        reused_elsewhere_at: Option::deserialize(reused).unwrap(),
    }
}

fn refused(code: &Value, message: &Value) -> Refusal {
    Refusal {
        code: ErrorCode::deserialize(code).unwrap(),
        message: message.as_str().unwrap().to_owned(),
    }
}
