//! Following a room: what changed since a position, and a stream of everything from then on.

use super::{Json, Path, Problem, Query, Rest, extract::malformed, headers::only, stream};
use crate::app::{Actor, App};
use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderName, StatusCode, request::Parts},
    response::IntoResponse,
};
use chrono::{DateTime, Utc};
use roost_schema::{Position, RoomEvents, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(stream_events))
        .routes(routes!(issue_ticket))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// The position to go on from; absent: the room's full state.
    after: Option<Position>,
}

/// Read what changed in a room after a position, at most 1 MiB at once.
#[utoipa::path(get, path = "/rooms/{roomId}/events", operation_id = "listEvents", tag = "events",
    params(("roomId" = RoomId, Path, description = "A board, a conversation, or one's own room."), EventsQuery),
    responses((status = OK, body = RoomEvents,
            description = "The changes, ascending; read on from `position` until `live`."),
        (status = GONE, response = Problem)))]
async fn list_events(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<RoomEvents>, Problem> {
    Ok(Json(app.list_events(&actor, room, query.after).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// The position to go on from; absent: from now on.
    after: Option<Position>,
    /// A ticket instead of the `Authorization` header, which an `EventSource` cannot send.
    #[param(max_length = 800, pattern = "^[A-Za-z0-9_.-]*$")]
    ticket: Option<String>,
}

/// The id of the last event an `EventSource` saw; it sends this by itself when it reconnects.
#[derive(IntoParams)]
#[into_params(parameter_in = Header, names("Last-Event-ID"))]
struct LastEventId(
    /// Goes on from this position, whatever `after` says.
    #[param(value_type = Position, required = false)]
    Option<Position>,
);

/// One event of the stream, by the fields of `text/event-stream`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what `stream` writes")]
struct StreamEvent {
    /// The position after the frame; absent in `closed`.
    id: Option<Position>,
    /// Absent for a frame of changes; `closed` for the last event.
    event: Option<String>,
    /// JSON: a frame as `listEvents` answers it, or why the stream ends.
    data: String,
    /// How many milliseconds to wait before connecting again.
    retry: Option<u64>,
}

/// Follow a room as server-sent events.
///
/// Each event is one frame of changes: its `data` is as `listEvents` answers, its `id` the position
/// after it. An event named `closed` says why the stream ends: its `data` has `code`, `message` and
/// perhaps `retryAfterMs`. Comments keep the connection open.
#[utoipa::path(get, path = "/rooms/{roomId}/stream", operation_id = "streamEvents", tag = "events",
    params(("roomId" = RoomId, Path, description = "A board, a conversation, or one's own room."),
        StreamQuery, LastEventId),
    responses((status = OK, description = "Events without end.", content_type = "text/event-stream",
            body = StreamEvent),
        (status = GONE, response = Problem)))]
async fn stream_events(
    State(rest): State<Rest>,
    reader: Reader,
    Path(room): Path<RoomId>,
    Query(query): Query<StreamQuery>,
    last: LastEventId,
) -> Result<impl IntoResponse, Problem> {
    let (app, actor) = (&rest.app, reader.0);
    let feed = app.watch_room(&actor, room, last.0.or(query.after)).await?;
    let end = stream::end(
        app.time_left(&actor),
        app.session_end(actor.session_id),
        rest.shared.closing,
        app.fence().clone(),
    );
    Ok(stream::answer(feed, end).await?)
}

/// A ticket for one stream.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StreamTicket {
    /// Goes into the stream's `ticket` parameter, once.
    ticket: String,
    expires_at: DateTime<Utc>,
}

/// Get a ticket that opens this room's stream once, within 30 seconds, at any instance.
#[utoipa::path(post, path = "/rooms/{roomId}/stream-tickets", operation_id = "issueStreamTicket", tag = "events",
    params(("roomId" = RoomId, Path, description = "A board, a conversation, or one's own room.")),
    responses((status = CREATED, description = "The ticket.", body = StreamTicket)))]
async fn issue_ticket(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
) -> Result<impl IntoResponse, Problem> {
    let (ticket, expires_at) = app.issue_stream_ticket(&actor, room).await?;
    let ticket = ticket.expose().to_owned();
    Ok((
        StatusCode::CREATED,
        Json(StreamTicket { ticket, expires_at }),
    ))
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let id = only(&parts.headers, &HeaderName::from_static("last-event-id"))?;
        // An `EventSource` that saw no event yet sends nothing, or nothing in it.
        let position = id
            .filter(|text| !text.is_empty())
            .map(str::parse)
            .transpose();
        position
            .map(Self)
            .map_err(|error| malformed(format!("Last-Event-ID {error}")))
    }
}

/// Who reads a stream: by ticket if the request has one, else by access token.
struct Reader(Actor);

impl FromRequestParts<Rest> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Problem> {
        let Query(query) = Query::<StreamQuery>::from_request_parts(parts, rest).await?;
        let Some(ticket) = query.ticket else {
            return Actor::from_request_parts(parts, rest).await.map(Self);
        };
        let Path(room) = Path::<RoomId>::from_request_parts(parts, rest).await?;
        let ticket = rest.app.read_stream_ticket(&ticket, room)?;
        rest.shared.limits.use_ticket(&ticket).await?;
        rest.shared
            .limits
            .check_account(ticket.actor.user_id)
            .await?;
        Ok(Self(ticket.actor))
    }
}
