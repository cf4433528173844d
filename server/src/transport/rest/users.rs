//! Finding people.

use super::{Json, Problem, Query, Rest};
use crate::app::{Actor, App};
use axum::extract::State;
use roost_schema::User;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new().routes(routes!(search_users))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserQuery {
    /// A whole e-mail address, or the beginning of a name.
    // Two characters or more between white space, none of them a control character.
    #[param(
        max_length = 254,
        pattern = "^[\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*\
            [^\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\
            \\u0000-\\u001f\\u007f-\\u009f]\
            [^\\u0000-\\u001f\\u007f-\\u009f]*\
            [^\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\
            \\u0000-\\u001f\\u007f-\\u009f]\
            [\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*$"
    )]
    query: String,
}

/// The people that were found, by name.
#[derive(Serialize, ToSchema)]
struct UserList {
    #[schema(max_items = 20)]
    items: Vec<User>,
}

/// Find people by exact e-mail address or by the beginning of their name.
#[utoipa::path(get, path = "/users/search", operation_id = "searchUsers", tag = "users", params(UserQuery),
    responses((status = OK, description = "At most 20 people, by name.", body = UserList)))]
async fn search_users(
    State(app): State<App>,
    actor: Actor,
    Query(query): Query<UserQuery>,
) -> Result<Json<UserList>, Problem> {
    let items = app.search_users(&actor, &query.query).await?;
    Ok(Json(UserList { items }))
}
