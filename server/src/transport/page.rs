//! The page at `/` and GraphiQL at `/graphiql`, embedded with everything they need.

use super::problem;
use crate::app::Error;
use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::fmt::Write;

/// What `server/page/` held when the server was built. The browser bundles in `vendor/` come from
/// npm; without them the server builds, and the pages say what is missing.
#[derive(RustEmbed)]
#[folder = "page"]
#[include = "*.html"]
#[include = "*.css"]
#[include = "*.js"]
#[include = "*.svg"]
#[include = "vendor/LICENSES.txt"]
struct Files;

const CHAT_BUNDLES: &[&str] = &["vendor/socket.io.min.js"];
const GRAPHIQL_BUNDLES: &[&str] = &[
    "vendor/graphiql.min.js",
    "vendor/graphiql.min.css",
    "vendor/graphql-ws.min.js",
    "vendor/react.production.min.js",
    "vendor/react-dom.production.min.js",
];

/// Everything from this server, nothing inline.
const CHAT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// GraphiQL writes styles of its own and carries its fonts in its style sheet.
const GRAPHIQL_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Roost</title>\
     <p>This server was built without the scripts of this page: run <code>cargo xtask up</code>, \
     which installs them and builds it anew.</p>\
     <p>Everything else works, for example the <a href=\"/api/reference\">API reference</a>.</p>";

pub(super) fn router() -> Router {
    Router::new()
        .route(
            "/",
            get(async || page("index.html", CHAT_BUNDLES, CHAT_POLICY)),
        )
        .route(
            "/graphiql",
            get(async || page("graphiql.html", GRAPHIQL_BUNDLES, GRAPHIQL_POLICY)),
        )
        .route("/page/{*path}", get(file))
}

fn page(name: &str, bundles: &[&str], policy: &'static str) -> Response {
    let is_complete = bundles.iter().all(|bundle| Files::get(bundle).is_some());
    let policy = (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    match Files::get(name).filter(|_| is_complete) {
        Some(file) => ([policy], Html(file.data)).into_response(),
        None => ([policy], Html(MISSING)).into_response(),
    }
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Files::get(&path) else {
        return problem(&Error::not_found("the page has no such file"));
    };
    let caching = caching(&file);
    let known = headers.get(header::IF_NONE_MATCH);
    if caching.iter().any(|(_, value)| Some(value) == known) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let content_type = [(header::CONTENT_TYPE, file.metadata.mimetype().to_owned())];
    (caching, content_type, file.data).into_response()
}

/// A browser may keep a file, and asks each time whether it is still the one.
fn caching(file: &EmbeddedFile) -> [(HeaderName, HeaderValue); 2] {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag),
    ]
}
