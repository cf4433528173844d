//! Which web pages may call: the server's own, and those on an exact list.

use super::{
    hosts,
    request::{INSTANCE, REQUEST_ID},
};
use crate::{
    app::{self, Error},
    config::WebOrigin,
};
use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Uri,
        header::{
            ALLOW, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, ORIGIN,
            RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
        },
        request::Parts,
    },
};
use roost_schema::ErrorCode;
use std::{sync::Arc, time::Duration};
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_mins(10);

const UNREADABLE: &str =
    "the Origin header must be one origin, such as https://app.example.org; null is none";
const NO_HOST: &str = "the Host header names no host, or none that the Origin header can be compared with; a proxy \
                       must pass it on";
const OTHER_PORT: &str = "the Origin header names the host of the Host header, but another port or the scheme of an app, \
                          and allowed_origins does not list it; a proxy must pass on the Host header with its port";
const FOREIGN: &str = "the Origin header names another host than the Host header, and allowed_origins does not list it; \
                       a proxy must pass on the Host header";

/// The exact list of foreign origins that may call.
#[derive(Clone, Debug)]
pub struct Origins(Arc<[WebOrigin]>);

impl Origins {
    pub(crate) fn new(allowed: &[WebOrigin]) -> Self {
        Self(allowed.into())
    }

    /// Refuses sockets that pages of foreign origins open. A browser sends no preflight for a WebSocket, so the server has
    /// to look itself.
    pub(super) fn check(&self, request: &Request) -> app::Result<()> {
        let (headers, uri) = (request.headers(), request.uri());
        let is_socket = headers.contains_key(UPGRADE) || uri.path().starts_with("/socket.io");
        if !is_socket {
            return Ok(());
        }
        self.allow(headers, uri)
            .map_err(|sentence| Error::refused(ErrorCode::Forbidden, sentence))
    }

    /// Whether a request may open a socket: it comes from no web page, from our own, or from one on the list. An error
    /// says which header is wrong.
    fn allow(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), &'static str> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return Ok(()),
            (Some(origin), None) => read(origin).ok_or(UNREADABLE)?,
            _ => return Err(UNREADABLE),
        };
        if self.0.contains(&origin) {
            return Ok(());
        }
        let called = hosts::authority_of(headers, uri).ok_or(NO_HOST)?;
        match (origin.is_at(&called), origin.has_host_of(&called)) {
            (true, _) => Ok(()),
            (false, true) => Err(OTHER_PORT),
            (false, false) => Err(FOREIGN),
        }
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        !self.0.is_empty() && read(origin).is_some_and(|origin| self.0.contains(&origin))
    }

    /// The answers to pages of listed origins. Their credentials are allowed, because the cookie of a proxy keeps the
    /// polls of a session at one instance; nothing here takes a cookie for a sign-in.
    pub(super) fn cors(&self) -> CorsLayer {
        let listed = self.clone();
        let is_listed = move |origin: &HeaderValue, _: &Parts| listed.lists(origin);
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(is_listed.clone()))
            .allow_credentials(AllowCredentials::predicate(is_listed))
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                AUTHORIZATION,
                CONTENT_TYPE,
                IF_MATCH,
                IF_NONE_MATCH,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                REQUEST_ID,
                // Libraries for tracing in browsers add these two by themselves.
                HeaderName::from_static("traceparent"),
                HeaderName::from_static("tracestate"),
            ])
            .expose_headers([
                ALLOW,
                ETAG,
                LOCATION,
                RETRY_AFTER,
                WWW_AUTHENTICATE,
                REQUEST_ID,
                INSTANCE,
            ])
            .max_age(PREFLIGHT_AGE)
    }
}

/// The origin that a header names. The value may be any bytes: a browser writes a host in punycode, others may not.
fn read(origin: &HeaderValue) -> Option<WebOrigin> {
    WebOrigin::read(str::from_utf8(origin.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::HOST;

    #[test]
    fn pages_of_foreign_origins_open_no_sockets() {
        let origins = Origins::new(&[WebOrigin::read("https://app.example.org").unwrap()]);
        let allow = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "chat.example.org".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            origins
                .allow(&headers, &Uri::from_static("/socket.io/"))
                .is_ok()
        };
        assert!(allow(None));
        assert!(allow(Some("https://chat.example.org")));
        assert!(allow(Some("https://app.example.org")));
        for foreign in [
            "https://example.org",
            "https://app.example.org.evil.test",
            "http://app.example.org",
            "https://chat.example.org:8443",
            "null",
            "",
        ] {
            assert!(!allow(Some(foreign)), "{foreign}");
        }
    }
}
