//! Members: invite, change role, remove, leave.

use super::{
    Json, Path, Problem, Query, Rest,
    described::{CreateErrors, RoomPath},
    headers::{IdempotencyKey, created},
};
use crate::app::{Actor, App};
use axum::{extract::State, http::StatusCode, response::IntoResponse};
use roost_schema::{ChangeRole, InviteMember, Member, MemberPage, PageQuery, RoomId, UserId};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(list_members, invite_member))
        .routes(routes!(change_role, remove_member))
}

/// Which page of a list to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MembersQuery {
    /// How many at most, 1 to 100; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^[A-Za-z0-9_-]{32}$")]
    cursor: Option<String>,
}

impl From<MembersQuery> for PageQuery {
    fn from(MembersQuery { limit, cursor }: MembersQuery) -> Self {
        Self { limit, cursor }
    }
}

/// List a room's members.
#[utoipa::path(get, path = "/rooms/{roomId}/members", operation_id = "listMembers", tag = "members",
    params(RoomPath, MembersQuery),
    responses((status = OK, description = "A page of members.", body = MemberPage)))]
async fn list_members(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    Query(page): Query<MembersQuery>,
) -> Result<Json<MemberPage>, Problem> {
    Ok(Json(app.list_members(&actor, room, page.into()).await?))
}

/// Make a person a member, by exact e-mail address or by id.
#[utoipa::path(post, path = "/rooms/{roomId}/members", operation_id = "inviteMember", tag = "members",
    params(RoomPath, IdempotencyKey),
    responses((status = CREATED, description = "The new member.", body = Member,
            headers(("Location" = String, description = "Where the membership is changed and ended."))),
        CreateErrors))]
async fn invite_member(
    State(app): State<App>,
    actor: Actor,
    Path(room): Path<RoomId>,
    key: IdempotencyKey,
    Json(mut input): Json<InviteMember>,
) -> Result<impl IntoResponse, Problem> {
    input.op_id = key.or(input.op_id)?;
    let member = app.invite_member(&actor, room, input).await?;
    let location = format!("/api/v1/rooms/{room}/members/{}", member.user_id);
    Ok(created(location, member))
}

/// Give a member another role.
#[utoipa::path(patch, path = "/rooms/{roomId}/members/{userId}", operation_id = "changeRole", tag = "members",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("userId" = UserId, Path, description = "A member of the room."), IdempotencyKey),
    responses((status = OK, description = "The member with the new role.", body = Member),
        CreateErrors))]
async fn change_role(
    State(app): State<App>,
    actor: Actor,
    Path((room, member)): Path<(RoomId, UserId)>,
    key: IdempotencyKey,
    Json(mut input): Json<ChangeRole>,
) -> Result<Json<Member>, Problem> {
    input.op_id = key.or(input.op_id)?;
    Ok(Json(app.change_role(&actor, room, member, input).await?))
}

/// Remove a member; oneself: leave the room.
#[utoipa::path(delete, path = "/rooms/{roomId}/members/{userId}", operation_id = "removeMember", tag = "members",
    params(("roomId" = RoomId, Path, description = "A board or a conversation."),
        ("userId" = UserId, Path, description = "A member of the room."), IdempotencyKey),
    responses((status = NO_CONTENT, description = "The person is no member any more."),
        CreateErrors, (status = UNPROCESSABLE_ENTITY, response = Problem)))]
async fn remove_member(
    State(app): State<App>,
    actor: Actor,
    Path((room, member)): Path<(RoomId, UserId)>,
    key: IdempotencyKey,
) -> Result<StatusCode, Problem> {
    let op_id = key.or(None)?;
    app.remove_member(&actor, room, member, op_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
