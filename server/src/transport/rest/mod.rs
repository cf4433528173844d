//! REST under `/api/v1`, its `OpenAPI` document and the page that shows it.

mod accounts;
mod auth;
mod events;
mod extract;
mod headers;
mod members;
mod messages;
mod openapi;
mod presence;
mod problem;
mod rooms;
mod sessions;
mod stream;
mod tickets;
mod users;

pub use openapi::openapi_json;
pub use problem::{Problem, no_such_path};

use crate::app::App;
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware,
};
use extract::{Json, Path, Query};
use std::sync::Arc;
use tickets::Tickets;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// The largest request body. A message of 32 KiB takes six times that when all of it is escaped.
const BODY_BYTES_MAX: usize = 512 * 1_024;

/// What the routes share.
#[derive(Clone, FromRef)]
struct Rest {
    app: App,
    tickets: Arc<Tickets>,
    /// Cancelled when the server stops: open streams end then, and say so.
    closing: CancellationToken,
}

/// Every REST route. Streams end when `closing` is cancelled.
pub fn router(app: App, closing: CancellationToken) -> Router {
    let rest = Rest {
        app,
        tickets: Arc::default(),
        closing,
    };
    let (routes, mut document) = described_routes().split_for_parts();
    openapi::complete(&mut document);
    routes
        .merge(
            SwaggerUi::new("/api/reference")
                .external_url_unchecked("/api/v1/openapi.json", openapi::to_value(&document)),
        )
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(problem::name_request))
        .with_state(rest)
}

/// The routes together with what the `OpenAPI` document says of them.
fn described_routes() -> OpenApiRouter<Rest> {
    let nouns = OpenApiRouter::new()
        .merge(accounts::routes())
        .merge(sessions::routes())
        .merge(users::routes())
        .merge(rooms::routes())
        .merge(members::routes())
        .merge(messages::routes())
        .merge(events::routes())
        .merge(presence::routes())
        .fallback(no_such_path);
    OpenApiRouter::with_openapi(openapi::frame())
        .nest("/api/v1", nouns)
        .merge(accounts::well_known_routes())
}
