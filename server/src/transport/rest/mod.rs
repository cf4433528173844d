//! REST under `/api/v1`, its `OpenAPI` document and the page that shows it.

mod accounts;
mod auth;
mod described;
mod events;
mod extract;
mod headers;
mod items;
mod members;
mod messages;
mod openapi;
mod presence;
mod problem;
mod rooms;
mod sessions;
mod stream;
mod users;

pub use openapi::openapi_json;
pub(super) use problem::Problem;

use super::Shared;
use crate::app::App;
use axum::{Router, extract::FromRef};
use extract::{Json, Path, Query};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// The state of the routes.
#[derive(Clone, FromRef)]
struct Rest {
    app: App,
    shared: Shared,
}

/// Which token a path needs. It is checked before the body of a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Needs no token; one that is sent is not checked.
    Open,
    /// Needs a token, and is about the account itself.
    Accounts,
    /// Needs a token.
    Api,
    /// Not a path of REST.
    Other,
}

const API: &str = "/api/v1/";
const ACCOUNTS: &str = "/api/v1/auth/";
const OPEN: [&str; 3] = [
    "/api/v1/auth/register",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
];

impl Route {
    pub(super) fn of(path: &str) -> Self {
        if OPEN.contains(&path) {
            Self::Open
        } else if path.starts_with(ACCOUNTS) {
            Self::Accounts
        } else if path.starts_with(API) {
            Self::Api
        } else {
            Self::Other
        }
    }

    pub(super) const fn needs_token(self) -> bool {
        matches!(self, Self::Accounts | Self::Api)
    }
}

/// Every REST route, the `OpenAPI` document and the page that shows it.
pub(super) fn router(app: &App, shared: &Shared) -> Router {
    let (routes, mut document) = described_routes().split_for_parts();
    openapi::complete(&mut document);
    let reference = SwaggerUi::new("/api/reference")
        .external_url_unchecked("/api/v1/openapi.json", openapi::to_value(&document));
    routes.merge(reference).with_state(Rest {
        app: app.clone(),
        shared: shared.clone(),
    })
}

/// The routes with their descriptions in the `OpenAPI` document.
fn described_routes() -> OpenApiRouter<Rest> {
    let nouns = OpenApiRouter::new()
        .merge(accounts::routes())
        .merge(sessions::routes())
        .merge(users::routes())
        .merge(rooms::routes())
        .merge(members::routes())
        .merge(items::routes())
        .merge(messages::routes())
        .merge(events::routes())
        .merge(presence::routes());
    OpenApiRouter::with_openapi(openapi::frame())
        .nest("/api/v1", nouns)
        .merge(accounts::well_known_routes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_without_a_token_are_those_the_contract_names() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json()).unwrap();
        let mut open = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().values() {
                let is_open = method["security"] == serde_json::json!([{}]);
                let has_body = method.get("requestBody").is_some();
                if has_body {
                    assert_ne!(Route::of(path).needs_token(), is_open, "{path}");
                }
                open.extend((has_body && is_open).then_some(path.as_str()));
            }
        }
        open.sort_unstable();
        let mut known = OPEN;
        known.sort_unstable();
        assert_eq!(open, known);
    }
}
