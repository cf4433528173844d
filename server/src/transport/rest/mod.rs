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
mod users;

pub use openapi::openapi_json;
pub(super) use problem::Problem;

use super::Shared;
use crate::app::App;
use axum::{Router, extract::FromRef};
use extract::{Json, Path, Query};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// What the routes share.
#[derive(Clone, FromRef)]
struct Rest {
    app: App,
    shared: Shared,
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
        .merge(presence::routes());
    OpenApiRouter::with_openapi(openapi::frame())
        .nest("/api/v1", nouns)
        .merge(accounts::well_known_routes())
}
