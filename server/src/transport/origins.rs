//! Which web pages may call: the server's own, and those on an exact list.

use super::request::INSTANCE;
use crate::{
    app::{self, Error},
    config::WebOrigin,
};
use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, IF_MATCH, ORIGIN, RETRY_AFTER, UPGRADE},
    },
};
use roost_schema::ErrorCode;
use std::{sync::Arc, time::Duration};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: Duration = Duration::from_mins(10);

/// The exact list of foreign origins that may call.
#[derive(Clone, Debug)]
pub struct Origins(Arc<[WebOrigin]>);

impl Origins {
    pub(crate) fn new(allowed: &[WebOrigin]) -> Self {
        Self(allowed.into())
    }

    /// Refuses sockets that pages of foreign origins open.
    pub(super) fn check(&self, request: &Request) -> app::Result<()> {
        let (headers, uri) = (request.headers(), request.uri());
        let is_socket = headers.contains_key(UPGRADE) || uri.path().starts_with("/socket.io");
        if is_socket && !self.allow(headers, uri) {
            return Err(Error::refused(
                ErrorCode::Forbidden,
                "pages of this origin may not connect; see allowed_origins",
            ));
        }
        Ok(())
    }

    /// Whether a request may open a socket: it comes from no web page, from our own, or from one on
    /// the list. A browser sends no preflight for a WebSocket, so the server has to look itself.
    fn allow(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.lists(origin) || is_own(origin, headers, uri)
    }

    fn lists(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed.0 == origin)
    }

    pub(super) fn cors(&self) -> CorsLayer {
        let listed = self.clone();
        let is_listed = move |origin: &HeaderValue, _: &_| {
            origin.to_str().is_ok_and(|origin| listed.lists(origin))
        };
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(is_listed))
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
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static("x-request-id"),
            ])
            .expose_headers([
                ETAG,
                RETRY_AFTER,
                HeaderName::from_static("x-request-id"),
                INSTANCE,
            ])
            .max_age(PREFLIGHT_AGE)
    }
}

/// The page was served from the address it calls. The scheme is not compared: behind a proxy that
/// ends TLS we do not know it.
fn is_own(origin: &str, headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
    let called_from = origin.split_once("://").map(|(_, authority)| authority);
    host.is_some() && called_from == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_foreign_origins_open_no_sockets() {
        let origins = Origins::new(&[WebOrigin("https://app.example.org".into())]);
        let allow = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "chat.example.org".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            origins.allow(&headers, &Uri::from_static("/socket.io/"))
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
