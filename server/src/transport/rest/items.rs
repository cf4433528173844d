//! Items of every kind: one collection for all of them.

use super::{
    Json, Path, Problem, Query, Rest,
    described::{ChangeErrors, CreateErrors, RoomPath},
    headers::{IdempotencyKey, IfMatch, IfNoneMatch, created, etag},
};
use crate::{
    app::{Actor, App, ItemQuery},
    transport::{Shared, refusal_metrics},
};
use axum::{extract::State, http::StatusCode, response::IntoResponse};
use roost_schema::{
    BatchItems, BatchOutcome, DeleteItem, Direction, FoundItems, Item, ItemBody, ItemId, ItemOps,
    ItemPage, NewItem, PageQuery, PatchItem, PatchedItem, PutItem, RestoreItem, RestoredItem,
    RoomId, Term, WrittenItem,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(list_items, create_item))
        .routes(routes!(change_items))
        .routes(routes!(read_item, put_item, patch_item, delete_item))
        .routes(routes!(restore_item))
        .routes(routes!(find_items))
}

/// Which items of a room, and a page of them. (Flattening would let unknown fields through.)
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of which kind.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,31}$")]
    kind: String,
    /// Only those that have this term, such as `to:<user id>`.
    #[param(value_type = Option<String>, pattern = "^[a-z]{1,16}:[!-~]{1,79}$")]
    term: Option<Term>,
    /// From the newest to the oldest (`older`, when absent) or the other way (`newer`), as they were made.
    #[serde(default)]
    #[param(inline, required = false)]
    direction: Direction,
    /// How many at most, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^(0|[1-9][0-9]{0,17})\.[0-9a-f]{1,16}\.(0|[1-9][0-9]{0,17})$")]
    cursor: Option<String>,
}

/// Which items of all rooms, and a page of them.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FindQuery {
    /// Of which kind.
    #[param(pattern = "^[a-z][a-z0-9_-]{0,31}$")]
    kind: String,
    /// Only those that have this term, such as `to:<user id>`.
    #[param(value_type = Option<String>, pattern = "^[a-z]{1,16}:[!-~]{1,79}$")]
    term: Option<Term>,
    /// How many at most, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(0|[1-9][0-9]{0,17})$")]
    cursor: Option<String>,
}

/// Read a room's items of a kind, a page at a time.
#[utoipa::path(get, path = "/rooms/{roomId}/items", operation_id = "listItems", tag = "items",
    params(RoomPath, ListQuery),
    responses((status = OK, description = "A page of items.", body = ItemPage), (status = GONE, response = Problem)))]
async fn list_items(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ItemPage>, Problem> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let query = ItemQuery::parse(&query.kind, query.term, query.direction)?;
    Ok(Json(app.list_items(&actor, room, query, page).await?))
}

/// Read the items of a kind in all your rooms, a page at a time: by room, in each as they were made.
#[utoipa::path(get, path = "/me/items", operation_id = "findItems", tag = "items", params(FindQuery),
    responses((status = OK, description = "A page of items. It may be empty and have a next.", body = FoundItems)))]
async fn find_items(
    State(app): State<App>,
    actor: Actor,
    Query(query): Query<FindQuery>,
) -> Result<Json<FoundItems>, Problem> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let query = ItemQuery::parse(&query.kind, query.term, Direction::Newer)?;
    Ok(Json(app.find_items(&actor, query, page).await?))
}

/// Make an item.
#[utoipa::path(post, path = "/rooms/{roomId}/items", operation_id = "createItem", tag = "items",
    params(RoomPath, IdempotencyKey),
    request_body = NewItem,
    responses((status = CREATED, description = "The item; for a retry, that of the first time.", body = Item,
            headers(("Location" = String, description = "Where the item can be read."),
                ("ETag" = String, description = "The item's version."))),
        CreateErrors))]
async fn create_item(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    key: IdempotencyKey,
    Json(input): Json<NewItem>,
) -> Result<impl IntoResponse, Problem> {
    let input = PutItem {
        room,
        kind: input.kind,
        item: input.id,
        body: input.body,
        op_id: key.or(None)?,
        if_match: None,
    };
    let item: Item = app.create_item(&actor, input).await?;
    let location = format!("/api/v1/rooms/{room}/items/{}", item.id);
    Ok((etag(item.seq), created(location, item)))
}

/// Make up to 200 changes of items, each by itself.
#[utoipa::path(post, path = "/rooms/{roomId}/items/batch", operation_id = "changeItems", tag = "items",
    params(RoomPath, IdempotencyKey),
    request_body = ItemOps,
    responses((status = OK, body = BatchOutcome,
            description = "What became of each, in their order. The change with number n has the operation id \
                `<key>:<n>`.")))]
async fn change_items(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    State(shared): State<Shared>,
    key: IdempotencyKey,
    Json(input): Json<ItemOps>,
) -> Result<Json<BatchOutcome>, Problem> {
    let limits = &shared.limits;
    limits.check_batch(actor.user_id, input.ops.len()).await?;
    let input = BatchItems {
        room,
        op_id: key.or(None)?,
        ops: input.ops,
    };
    let done = app.batch_items(&actor, input).outcome().await?;
    refusal_metrics::count_changes(actor.api, &done);
    Ok(Json(done))
}

/// Read an item.
#[utoipa::path(get, path = "/rooms/{roomId}/items/{itemId}", operation_id = "readItem", tag = "items",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("itemId" = ItemId, Path, description = "An item of the room."), IfNoneMatch),
    responses((status = OK, description = "The item.", body = Item,
            headers(("ETag" = String, description = "The item's version."))),
        (status = NOT_MODIFIED, description = "The item is still the one the reader has.")))]
async fn read_item(
    State(app): State<App>,
    actor: Actor,
    Path((room, item)): Path<(RoomId, ItemId)>,
    known: IfNoneMatch,
) -> Result<impl IntoResponse, Problem> {
    let item = app.read_item(&actor, room, item).await?;
    let tag = etag(item.seq);
    if known.knows(item.seq) {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(item)).into_response())
}

/// Make an item with this id, or change all that the body names.
#[utoipa::path(put, path = "/rooms/{roomId}/items/{itemId}", operation_id = "putItem", tag = "items",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("itemId" = String, Path, description = "A `UUIDv7`.", format = Uuid,
            pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
        IdempotencyKey, IfMatch),
    request_body = WrittenItem,
    responses((status = OK, description = "The item.", body = Item,
            headers(("ETag" = String, description = "The item's new version."))),
        ChangeErrors))]
async fn put_item(
    State(app): State<App>,
    actor: Actor,
    Path((room, item)): Path<(RoomId, ItemId)>,
    (key, version): (IdempotencyKey, IfMatch),
    Json(input): Json<ItemBody>,
) -> Result<impl IntoResponse, Problem> {
    let input = PutItem {
        room,
        kind: input.kind,
        item: Some(item),
        body: input.body,
        op_id: key.or(None)?,
        if_match: version.0,
    };
    let item: Item = app.put_item(&actor, input).await?;
    Ok((etag(item.seq), Json(item)))
}

/// Change some fields of an item.
#[utoipa::path(patch, path = "/rooms/{roomId}/items/{itemId}", operation_id = "patchItem", tag = "items",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("itemId" = ItemId, Path, description = "An item of the room."), IdempotencyKey, IfMatch),
    request_body = PatchedItem,
    responses((status = OK, description = "The item.", body = Item,
            headers(("ETag" = String, description = "The item's new version."))),
        ChangeErrors))]
async fn patch_item(
    State(app): State<App>,
    actor: Actor,
    Path((room, item)): Path<(RoomId, ItemId)>,
    (key, version): (IdempotencyKey, IfMatch),
    Json(input): Json<ItemBody>,
) -> Result<impl IntoResponse, Problem> {
    let input = PatchItem {
        room,
        kind: input.kind,
        item,
        body: input.body,
        op_id: key.or(None)?,
        if_match: version.0,
    };
    let item: Item = app.patch_item(&actor, input).await?;
    Ok((etag(item.seq), Json(item)))
}

/// Delete an item.
#[utoipa::path(delete, path = "/rooms/{roomId}/items/{itemId}", operation_id = "deleteItem", tag = "items",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("itemId" = ItemId, Path, description = "An item of the room."), IdempotencyKey, IfMatch),
    responses((status = NO_CONTENT, description = "The item is deleted."),
        ChangeErrors, (status = UNPROCESSABLE_ENTITY, response = Problem)))]
async fn delete_item(
    State(app): State<App>,
    actor: Actor,
    Path((room, item)): Path<(RoomId, ItemId)>,
    (key, version): (IdempotencyKey, IfMatch),
) -> Result<StatusCode, Problem> {
    let input = DeleteItem {
        room,
        item,
        op_id: key.or(None)?,
        if_match: version.0,
    };
    app.delete_item::<Item>(&actor, input).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Bring back an item that was deleted, in its place.
#[utoipa::path(post, path = "/rooms/{roomId}/items/{itemId}/restore", operation_id = "restoreItem", tag = "items",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("itemId" = ItemId, Path, description = "An item of the room."), IdempotencyKey),
    request_body = RestoredItem,
    responses((status = OK, description = "The item, as if it were written now.", body = Item,
            headers(("ETag" = String, description = "The item's new version."))),
        CreateErrors))]
async fn restore_item(
    State(app): State<App>,
    actor: Actor,
    Path((room, item)): Path<(RoomId, ItemId)>,
    key: IdempotencyKey,
    Json(input): Json<ItemBody>,
) -> Result<impl IntoResponse, Problem> {
    let input = RestoreItem {
        room,
        kind: input.kind,
        item,
        body: input.body,
        op_id: key.or(None)?,
    };
    let item: Item = app.restore_item(&actor, input).await?;
    Ok((etag(item.seq), Json(item)))
}
