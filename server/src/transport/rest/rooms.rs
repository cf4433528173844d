//! Rooms: boards and conversations, their title and archive.

use super::{
    Json, Path, Problem, Query, Rest,
    described::{CreateErrors, RoomPath},
    headers::{IdempotencyKey, created},
};
use crate::app::{Actor, App};
use axum::{extract::State, response::IntoResponse};
use roost_schema::{
    ChangeRoom, CreateBoard, OpenConversation, PageQuery, Room, RoomId, RoomPage, RoomType,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(create_board, list_boards))
        .routes(routes!(open_conversation, list_conversations))
        .routes(routes!(list_rooms))
        .routes(routes!(read_room, change_room))
}

/// Which page of a list to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RoomsQuery {
    /// How many at most, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<String>,
}

impl From<RoomsQuery> for PageQuery {
    fn from(RoomsQuery { limit, cursor }: RoomsQuery) -> Self {
        Self { limit, cursor }
    }
}

/// Make a board; its maker is the owner.
#[utoipa::path(post, path = "/boards", operation_id = "createBoard", tag = "rooms", params(IdempotencyKey),
    responses((status = CREATED, description = "The board.", body = Room,
            headers(("Location" = String, description = "Where the board can be read.")))))]
async fn create_board(
    State(app): State<App>,
    actor: Actor,
    key: IdempotencyKey,
    Json(mut input): Json<CreateBoard>,
) -> Result<impl IntoResponse, Problem> {
    input.op_id = key.or(input.op_id)?;
    let room = app.create_board(&actor, input).await?;
    Ok(created(format!("/api/v1/rooms/{}", room.id), room))
}

/// List the boards one is a member of, newest first.
#[utoipa::path(get, path = "/boards", operation_id = "listBoards", tag = "rooms", params(RoomsQuery),
    responses((status = OK, description = "A page of boards.", body = RoomPage)))]
async fn list_boards(
    State(app): State<App>,
    actor: Actor,
    Query(page): Query<RoomsQuery>,
) -> Result<Json<RoomPage>, Problem> {
    let types = [RoomType::Board];
    Ok(Json(app.list_rooms(&actor, &types, page.into()).await?))
}

/// Open a conversation: with one person and no title the direct one of the two, else a new group.
///
/// The same two people always get the same direct conversation.
#[utoipa::path(post, path = "/conversations", operation_id = "openConversation", tag = "rooms", params(IdempotencyKey),
    responses((status = OK, description = "The conversation.", body = Room), (status = NOT_FOUND, response = Problem)))]
async fn open_conversation(
    State(app): State<App>,
    actor: Actor,
    key: IdempotencyKey,
    Json(mut input): Json<OpenConversation>,
) -> Result<Json<Room>, Problem> {
    input.op_id = key.or(input.op_id)?;
    Ok(Json(app.open_conversation(&actor, input).await?))
}

/// List the conversations one is a member of, newest first.
#[utoipa::path(get, path = "/conversations", operation_id = "listConversations", tag = "rooms", params(RoomsQuery),
    responses((status = OK, description = "A page of conversations.", body = RoomPage)))]
async fn list_conversations(
    State(app): State<App>,
    actor: Actor,
    Query(page): Query<RoomsQuery>,
) -> Result<Json<RoomPage>, Problem> {
    let types = [RoomType::Direct, RoomType::Group];
    Ok(Json(app.list_rooms(&actor, &types, page.into()).await?))
}

/// List the rooms one is a member of, newest first.
#[utoipa::path(get, path = "/rooms", operation_id = "listRooms", tag = "rooms", params(RoomsQuery),
    responses((status = OK, description = "A page of boards and conversations.", body = RoomPage)))]
async fn list_rooms(
    State(app): State<App>,
    actor: Actor,
    Query(page): Query<RoomsQuery>,
) -> Result<Json<RoomPage>, Problem> {
    Ok(Json(app.list_rooms(&actor, &[], page.into()).await?))
}

/// Read a room.
#[utoipa::path(get, path = "/rooms/{roomId}", operation_id = "readRoom", tag = "rooms",
    params(RoomPath),
    responses((status = OK, description = "The room.", body = Room)))]
async fn read_room(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
) -> Result<Json<Room>, Problem> {
    Ok(Json(app.read_room(&actor, room).await?))
}

/// Give a room another title, put it into the archive, or take it out.
#[utoipa::path(patch, path = "/rooms/{roomId}", operation_id = "changeRoom", tag = "rooms",
    params(RoomPath, IdempotencyKey),
    responses((status = OK, description = "The changed room.", body = Room),
        CreateErrors))]
async fn change_room(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    key: IdempotencyKey,
    Json(mut input): Json<ChangeRoom>,
) -> Result<Json<Room>, Problem> {
    input.op_id = key.or(input.op_id)?;
    Ok(Json(app.change_room(&actor, room, input).await?))
}
