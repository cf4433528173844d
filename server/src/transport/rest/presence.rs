//! Who is in a room now.

use super::{Json, Path, Problem, Rest, described::RoomPath};
use crate::app::{Actor, App};
use axum::extract::State;
use roost_schema::{Presence, RoomId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new().routes(routes!(list_presence))
}

/// The people who are in a room now.
#[derive(Serialize, ToSchema)]
struct PresenceList {
    items: Vec<Presence>,
}

/// List who is in a room now.
#[utoipa::path(get, path = "/rooms/{roomId}/presence", operation_id = "listPresence", tag = "presence",
    params(RoomPath),
    responses((status = OK, description = "One entry for each person.", body = PresenceList)))]
async fn list_presence(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
) -> Result<Json<PresenceList>, Problem> {
    let items = app.list_presence(&actor, room).await?;
    Ok(Json(PresenceList { items }))
}
