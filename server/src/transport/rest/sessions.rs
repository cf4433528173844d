//! Sessions: the person's devices.

use super::{Json, Path, Problem, Rest};
use crate::app::{Actor, App};
use axum::{extract::State, http::StatusCode};
use roost_schema::{NameSession, Session, SessionId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions, revoke_other_sessions))
        .routes(routes!(name_session, revoke_session))
}

/// A person's sessions.
#[derive(Serialize, ToSchema)]
struct SessionList {
    items: Vec<Session>,
}

/// List one's own sessions.
#[utoipa::path(get, path = "/me/sessions", operation_id = "listSessions", tag = "sessions",
    responses((status = OK, description = "Every session that has not ended.", body = SessionList)))]
async fn list_sessions(State(app): State<App>, actor: Actor) -> Result<Json<SessionList>, Problem> {
    let items = app.list_sessions(&actor).await?;
    Ok(Json(SessionList { items }))
}

/// End every session but the one that asks.
#[utoipa::path(delete, path = "/me/sessions", operation_id = "revokeOtherSessions", tag = "sessions",
    responses((status = NO_CONTENT, description = "Only this session is left.")))]
async fn revoke_other_sessions(
    State(app): State<App>,
    actor: Actor,
) -> Result<StatusCode, Problem> {
    app.revoke_other_sessions(&actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Name one of one's own sessions.
#[utoipa::path(patch, path = "/me/sessions/{sessionId}", operation_id = "nameSession", tag = "sessions",
    params(("sessionId" = SessionId, Path, description = "One of the person's own sessions.")),
    responses((status = OK, description = "The session with its new name.", body = Session)))]
async fn name_session(
    State(app): State<App>,
    actor: Actor,
    Path(session): Path<SessionId>,
    Json(input): Json<NameSession>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(app.name_session(&actor, session, input).await?))
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/me/sessions/{sessionId}", operation_id = "revokeSession", tag = "sessions",
    params(("sessionId" = SessionId, Path, description = "One of the person's own sessions.")),
    responses((status = NO_CONTENT, description = "The session has ended.")))]
async fn revoke_session(
    State(app): State<App>,
    actor: Actor,
    Path(session): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    app.revoke_session(&actor, session).await?;
    Ok(StatusCode::NO_CONTENT)
}
