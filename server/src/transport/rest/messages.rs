//! Chat messages: send, edit, delete, read.

use super::{
    Json, Path, Problem, Query, Rest,
    described::{ChangeErrors, CreateErrors, RoomPath},
    headers::{IdempotencyKey, IfMatch, IfNoneMatch, created, etag},
};
use crate::app::{Actor, App};
use axum::{extract::State, http::StatusCode, response::IntoResponse};
use roost_schema::{
    DeleteMessage, Direction, EditMessage, EditMessageBody, ItemId, Message, MessagePage,
    PageQuery, RoomId, SendMessage,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(list_messages, send_message))
        .routes(routes!(read_message, edit_message, delete_message))
}

/// A page of history and which way to read it. (Flattening would let unknown fields through.)
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// How many at most, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^(0|[1-9][0-9]{0,17})\.[0-9a-f]{1,16}\.(0|[1-9][0-9]{0,17})$")]
    cursor: Option<String>,
    /// From the newest to the oldest (`older`, when absent) or the other way (`newer`).
    #[serde(default)]
    #[param(inline, required = false)]
    direction: Direction,
}

/// Read a room's messages, a page at a time.
#[utoipa::path(get, path = "/rooms/{roomId}/messages", operation_id = "listMessages", tag = "messages",
    params(RoomPath, HistoryQuery),
    responses((status = OK, description = "A page of messages.", body = MessagePage),
        (status = GONE, response = Problem)))]
async fn list_messages(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    Query(HistoryQuery {
        limit,
        cursor,
        direction,
    }): Query<HistoryQuery>,
) -> Result<Json<MessagePage>, Problem> {
    let page = PageQuery { limit, cursor };
    Ok(Json(
        app.list_messages(&actor, room, direction, page).await?,
    ))
}

/// Send a message.
#[utoipa::path(post, path = "/rooms/{roomId}/messages", operation_id = "sendMessage", tag = "messages",
    params(RoomPath, IdempotencyKey),
    responses((status = CREATED, description = "The message; for a retry, that of the first time.", body = Message,
            headers(("Location" = String, description = "Where the message can be read."),
                ("ETag" = String, description = "The message's version."))),
        CreateErrors))]
async fn send_message(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    key: IdempotencyKey,
    Json(mut input): Json<SendMessage>,
) -> Result<impl IntoResponse, Problem> {
    input.op_id = key.or(input.op_id)?;
    let message = app.send_message(&actor, room, input).await?;
    let location = format!("/api/v1/rooms/{room}/messages/{}", message.id);
    Ok((etag(message.seq), created(location, message)))
}

/// Read a message.
#[utoipa::path(get, path = "/rooms/{roomId}/messages/{messageId}", operation_id = "readMessage", tag = "messages",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("messageId" = ItemId, Path, description = "A message of the room."), IfNoneMatch),
    responses((status = OK, description = "The message.", body = Message,
            headers(("ETag" = String, description = "The message's version."))),
        (status = NOT_MODIFIED, description = "The message is still the one the reader has.")))]
async fn read_message(
    State(app): State<App>,
    actor: Actor,
    Path((room, message)): Path<(RoomId, ItemId)>,
    known: IfNoneMatch,
) -> Result<impl IntoResponse, Problem> {
    let message = app.read_message(&actor, room, message).await?;
    let tag = etag(message.seq);
    if known.knows(message.seq) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(message)).into_response())
}

/// Give one's own message another text.
#[utoipa::path(patch, path = "/rooms/{roomId}/messages/{messageId}", operation_id = "editMessage", tag = "messages",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("messageId" = ItemId, Path, description = "A message of the room."), IdempotencyKey, IfMatch),
    responses((status = OK, description = "The edited message.", body = Message,
            headers(("ETag" = String, description = "The message's new version."))),
        ChangeErrors))]
async fn edit_message(
    State(app): State<App>,
    actor: Actor,
    Path((room, message)): Path<(RoomId, ItemId)>,
    (key, version): (IdempotencyKey, IfMatch),
    Json(input): Json<EditMessageBody>,
) -> Result<impl IntoResponse, Problem> {
    let input = EditMessage {
        text: input.text,
        op_id: key.or(input.op_id)?,
        if_match: version.0,
    };
    let message = app.edit_message(&actor, room, message, input).await?;
    Ok((etag(message.seq), Json(message)))
}

/// Delete one's own message; an owner deletes anyone's.
#[utoipa::path(delete, path = "/rooms/{roomId}/messages/{messageId}", operation_id = "deleteMessage", tag = "messages",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("messageId" = ItemId, Path, description = "A message of the room."), IdempotencyKey, IfMatch),
    responses((status = NO_CONTENT, description = "The message is deleted."),
        ChangeErrors, (status = UNPROCESSABLE_ENTITY, response = Problem)))]
async fn delete_message(
    State(app): State<App>,
    actor: Actor,
    Path((room, message)): Path<(RoomId, ItemId)>,
    (key, version): (IdempotencyKey, IfMatch),
) -> Result<StatusCode, Problem> {
    let (op_id, if_match) = (key.or(None)?, version.0);
    let input = DeleteMessage { op_id, if_match };
    app.delete_message(&actor, room, message, input).await?;
    Ok(StatusCode::NO_CONTENT)
}
