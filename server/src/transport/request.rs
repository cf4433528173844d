//! The outermost layer of every request: its id, span, client address, metrics and response headers.

use super::{
    Shared,
    arrivals::Sender,
    forwarded::{ClientAddress, client_address},
    health::Readiness,
    hosts, refusal_metrics,
    socketio::listener::ConnectionHandle,
};
use crate::app::Api;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{self, AUTHORIZATION, CONNECTION},
    },
    middleware::Next,
    response::Response,
};
use futures::future::Either;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};
use tracing::Instrument;
use uuid::Uuid;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header with the id of the instance that answers. The id is on every line of the instance's log.
pub(super) const INSTANCE: HeaderName = HeaderName::from_static("x-roost-instance");
const REQUEST_ID_CHARS_MAX: usize = 64;
const UNMATCHED: &str = "unmatched";

/// Headers that restrict what browsers do with an answer, unless the answer sets its own.
const BROWSER_RULES: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
];

/// The other end of the connection a request came on; `serve` puts it into each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) SocketAddr);

tokio::task_local! {
    static CURRENT: Current;
}

/// The ids that an error body repeats.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) id: Arc<str>,
    pub(super) instance: Arc<str>,
    pub(super) api: Api,
}

/// The request this task answers, for error bodies. `None` outside a request.
pub(super) fn current() -> Option<Current> {
    CURRENT.try_with(Current::clone).ok()
}

/// The outermost layer.
pub(super) async fn observe(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(&request);
    let client = address_of(&request, &shared);
    request.extensions_mut().insert(client);
    let connection = request.extensions().get::<ConnectionHandle>().cloned();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(UNMATCHED.to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!(
        "request", request.id = %id, http.method = %method, http.route = %route, client.address = %client.0
    );
    let current = Current {
        id: Arc::clone(&id),
        instance: Arc::clone(&shared.instance),
        api: refusal_metrics::api_of(request.uri().path()),
    };
    let started = Instant::now();
    let answering = match hosts::check(&request) {
        Ok(()) => Either::Left(next.run(request)),
        Err(error) => Either::Right(hosts::refuse(request, error)),
    };
    let mut response = CURRENT
        .scope(current, answering)
        .instrument(span.clone())
        .await;
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(connection) = connection
    {
        connection.meter(shared.arrivals.begin(client.0, Sender::Guest));
    }
    let elapsed = started.elapsed();
    span.in_scope(|| {
        tracing::debug!(
            http.status = status.as_u16(),
            elapsed_ms = elapsed.as_millis(),
            "answered"
        );
    });
    let labels = [
        ("method", known_method(&method).to_owned()),
        ("route", route),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("roost_http_requests_total", &labels).increment(1);
    metrics::histogram!("roost_http_request_duration_seconds", &labels[..2])
        .record(elapsed.as_secs_f64());
    add_headers(&mut response, &shared, &id);
    response
}

/// Not a layer for each header: a waiting request holds a copy of everything within a layer, once for each layer.
fn add_headers(response: &mut Response, shared: &Shared, id: &str) {
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    for (name, value) in BROWSER_RULES {
        let rule = headers.entry(name);
        rule.or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    if shared.health.state() == Readiness::Draining && !is_upgrade {
        // A proxy would keep the connection for its next request, which another instance should get.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(value) = HeaderValue::from_str(&shared.instance) {
        headers.insert(INSTANCE, value);
    }
}

/// A caller's own id when it is short and plain, so that it can stand in logs and headers.
fn request_id(request: &Request) -> Arc<str> {
    let is_sane = |text: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(is_sane)
        .map_or_else(|| Uuid::now_v7().to_string().into(), Into::into)
}

fn address_of(request: &Request, shared: &Shared) -> ClientAddress {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let peer = request
        .extensions()
        .get::<PeerAddress>()
        .map_or(unknown, |peer| peer.0.ip());
    client_address(peer, request.headers(), &shared.trusted_proxies)
}

/// The address a request comes from.
pub(super) fn client_of(request: &Request) -> IpAddr {
    let client = request.extensions().get::<ClientAddress>();
    client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0)
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 §11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let credentials = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = credentials.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// A method is a label only when it is one of a few: callers can invent others.
fn known_method(method: &axum::http::Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    }
}
