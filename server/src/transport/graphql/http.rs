//! GraphQL over HTTP, by the specification of that name.
//! <https://graphql.github.io/graphql-over-http/draft/>

use super::{
    Graphql,
    auth::Asker,
    error_codes::{RequestId, add_codes, request_error},
    guard, loaders, websocket,
};
use crate::{
    app::{Error, FENCED},
    transport::{problem, request::current, socketio::listener::ConnectionHandle},
};
use async_graphql::{Request, Response, ServerError, Variables, parser::types::OperationType};
use axum::{
    body::Bytes,
    extract::{Query, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response as HttpResponse},
};
use roost_schema::ErrorCode;
use serde::Deserialize;
use serde_json::{Map, Value};

const JSON: &str = "application/json; charset=utf-8";
const GRAPHQL_JSON: &str = "application/graphql-response+json; charset=utf-8";

/// A GraphQL request as it travels. Unknown members are ignored, as the specification wants.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params {
    query: String,
    operation_name: Option<String>,
    variables: Option<Map<String, Value>>,
    #[expect(dead_code, reason = "its type is checked; nothing here uses it")]
    extensions: Option<Map<String, Value>>,
}

/// A GraphQL request in a URL: `variables` and `extensions` are JSON text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UrlParams {
    query: String,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

/// Answers a query in a URL, or opens a WebSocket.
pub(super) async fn get(
    State(graphql): State<Graphql>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Result<Query<UrlParams>, axum::extract::rejection::QueryRejection>,
    parts: Parts,
) -> HttpResponse {
    if let Ok(upgrade) = upgrade {
        let Some(handle) = parts.extensions.get::<ConnectionHandle>().cloned() else {
            tracing::error!("a connection without a handle: serve this router with its own loop");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        return websocket::open(graphql, upgrade, (Asker::of(&parts), handle), request_id());
    }
    let params = params
        .map_err(|rejection| malformed(rejection.body_text()))
        .and_then(|Query(params)| params.decode());
    match params {
        Ok(params) => execute(&graphql, &parts, params).await,
        Err(refusal) => refusal.answer(&parts.headers),
    }
}

pub(super) async fn post(
    State(graphql): State<Graphql>,
    parts: Parts,
    body: Bytes,
) -> HttpResponse {
    match read(&parts.headers, &body) {
        Ok(params) => execute(&graphql, &parts, params).await,
        Err(refusal) => refusal.answer(&parts.headers),
    }
}

pub(super) async fn method_not_allowed(headers: HeaderMap) -> HttpResponse {
    let refusal = refuse(ErrorCode::MethodNotAllowed, "GraphQL takes GET and POST");
    refusal.answer(&headers)
}

impl Params {
    /// The request for the schema, with what its resolvers look for.
    pub(super) fn into_request(
        self,
        graphql: &Graphql,
        asker: Asker,
        id: Option<RequestId>,
    ) -> Request {
        let tasks = graphql.shared.tasks.clone();
        let people = loaders::people(graphql.app.clone(), asker.clone(), tasks.clone());
        let rooms = loaders::rooms(graphql.app.clone(), asker.clone(), tasks);
        let mut request = Request::new(self.query).data(asker);
        request = request.data(people).data(rooms);
        if let Some(variables) = self.variables {
            request = request.variables(Variables::from_json(Value::Object(variables)));
        }
        if let Some(name) = self.operation_name {
            request = request.operation_name(name);
        }
        match id {
            Some(id) => request.data(id),
            None => request,
        }
    }
}

impl UrlParams {
    fn decode(self) -> Result<Params, HttpRefusal> {
        Ok(Params {
            query: self.query,
            operation_name: self.operation_name,
            variables: json_object("variables", self.variables)?,
            extensions: json_object("extensions", self.extensions)?,
        })
    }
}

fn json_object(
    name: &str,
    text: Option<String>,
) -> Result<Option<Map<String, Value>>, HttpRefusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    serde_json::from_str(&text).map_err(|error| malformed(format!("{name}: {error}")))
}

async fn execute(graphql: &Graphql, parts: &Parts, params: Params) -> HttpResponse {
    let id = request_id();
    let mut request = params.into_request(graphql, Asker::of(parts), id);
    let checked = guard::check(&mut request);
    let writes = matches!(checked, Ok(Some(OperationType::Mutation)));
    let refusal = match (checked, parts.method.as_str()) {
        (Err(error), _) => Some(HttpRefusal::of_document(error)),
        (Ok(Some(OperationType::Subscription)), _) => {
            Some(HttpRefusal::of_document(request_error(Error::refused(
                ErrorCode::Malformed,
                "subscriptions need the graphql-transport-ws WebSocket at this address",
            ))))
        }
        (Ok(Some(OperationType::Mutation)), method) if method != "POST" => Some(refuse(
            ErrorCode::MethodNotAllowed,
            "a mutation must be sent with POST",
        )),
        (Ok(_), _) => None,
    };
    if let Some(refusal) = refusal {
        return refusal.answer(&parts.headers);
    }
    let response = graphql.schema.execute(request).await;
    // The response was read before the fence was shut; its reader may have lost the right to it since.
    if !writes && graphql.app.fence().is_shut() {
        return problem(&FENCED);
    }
    answer(&response, &parts.headers)
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Params, HttpRefusal> {
    if !is_json(headers) {
        return Err(refuse(
            ErrorCode::UnsupportedMediaType,
            "the body must be application/json",
        ));
    }
    if body.first() == Some(&b'[') {
        return Err(malformed("requests are taken one at a time".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))
}

/// `application/json`, in UTF-8 if it names an encoding.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
    else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

/// Why a request over HTTP is not executed.
struct HttpRefusal {
    status: StatusCode,
    error: Box<ServerError>,
}

fn refuse(code: ErrorCode, sentence: &'static str) -> HttpRefusal {
    HttpRefusal {
        status: StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::BAD_REQUEST),
        error: request_error(Error::refused(code, sentence)).into(),
    }
}

fn malformed(sentence: String) -> HttpRefusal {
    HttpRefusal {
        status: StatusCode::BAD_REQUEST,
        error: ServerError::new(sentence, None).into(),
    }
}

impl HttpRefusal {
    /// A well-formed request whose document is not good: the status depends on the media type.
    fn of_document(error: ServerError) -> Self {
        Self {
            status: StatusCode::OK,
            error: error.into(),
        }
    }

    fn answer(mut self, headers: &HeaderMap) -> HttpResponse {
        if self.status == StatusCode::OK {
            let mut response = Response::from_errors(vec![*self.error]);
            add_codes(&mut response.errors, request_id().as_ref());
            return answer(&response, headers);
        }
        let errors = std::slice::from_mut(self.error.as_mut());
        add_codes(errors, request_id().as_ref());
        let body = serde_json::json!({ "errors": errors });
        render(self.status, media_type(headers), &body)
    }
}

/// §6.4: `application/json` answers every well-formed request with 200; the newer media type answers
/// 400 to one that was not executed, which shows in errors without a path.
fn answer(response: &Response, headers: &HeaderMap) -> HttpResponse {
    let media_type = media_type(headers);
    let not_executed = was_not_executed(response);
    let status = if not_executed && media_type == GRAPHQL_JSON {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    if not_executed {
        let body = serde_json::json!({ "errors": response.errors });
        return render(status, media_type, &body);
    }
    render(status, media_type, response)
}

/// Whether the request failed before any field was resolved. Its answer then has no `data`.
pub(super) fn was_not_executed(response: &Response) -> bool {
    let has_data = response.data != async_graphql::Value::Null;
    !has_data && response.errors.iter().any(|error| error.path.is_empty())
}

fn render(
    status: StatusCode,
    media_type: &'static str,
    body: &impl serde::Serialize,
) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(body) => {
            let content_type = HeaderValue::from_static(media_type);
            (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a GraphQL answer cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The media type the client prefers: `application/json` unless it names the newer one with at least
/// the same weight. What is not offered is ignored, as the specification allows.
fn media_type(headers: &HeaderMap) -> &'static str {
    let accept = headers.get_all(header::ACCEPT).iter();
    let ranges = accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let (mut json, mut graphql) = (0.0_f32, 0.0_f32);
    for range in ranges {
        let (essence, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = parameters
            .split(';')
            .find_map(|parameter| parameter.trim().strip_prefix("q="))
            .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/graphql-response+json" => graphql = weight,
            "application/json" | "application/*" | "*/*" => json = weight.max(json),
            _ => {}
        }
    }
    if graphql > 0.0 && graphql >= json {
        GRAPHQL_JSON
    } else {
        JSON
    }
}

fn request_id() -> Option<RequestId> {
    current().map(RequestId)
}
