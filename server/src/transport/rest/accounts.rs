//! Accounts: register, sign in and out, refresh, change the password.

use super::{Json, Problem, Rest, headers::created};
use crate::{
    app::{Actor, App, Origin},
    transport::Shared,
};
use axum::{
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::IntoResponse,
};
use roost_schema::{ChangePassword, Login, Me, Refresh, Register, SignedIn};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(change_password))
        .routes(routes!(read_me))
}

pub(super) fn well_known_routes() -> OpenApiRouter<Rest> {
    OpenApiRouter::new().routes(routes!(read_keys))
}

/// Make an account and sign in.
///
/// With an `opId` that was used before, the password is checked and the person is signed in anew.
#[utoipa::path(post, path = "/auth/register", operation_id = "register", tag = "accounts", security(()),
    responses((status = CREATED, description = "The account, a session and its tokens.", body = SignedIn,
            headers(("Location" = String, description = "Where the account can be read."))),
        (status = UNAUTHORIZED, response = Problem), (status = CONFLICT, response = Problem)))]
async fn register(
    State(app): State<App>,
    State(shared): State<Shared>,
    origin: Origin,
    Json(input): Json<Register>,
) -> Result<impl IntoResponse, Problem> {
    // With an operation id that is known, a password is judged here, too.
    let limits = &shared.limits;
    limits.check_guess(&input.email, origin.address).await?;
    let signed_in = app.register(&origin, input).await?;
    Ok(created("/api/v1/me".to_owned(), signed_in))
}

/// Sign in with an e-mail address and a password.
#[utoipa::path(post, path = "/auth/login", operation_id = "login", tag = "accounts", security(()),
    responses((status = OK, description = "A new session and its tokens.", body = SignedIn),
        (status = UNAUTHORIZED, response = Problem)))]
async fn login(
    State(app): State<App>,
    State(shared): State<Shared>,
    origin: Origin,
    Json(input): Json<Login>,
) -> Result<impl IntoResponse, Problem> {
    let limits = &shared.limits;
    limits.check_guess(&input.email, origin.address).await?;
    Ok(Json(app.login(&origin, input).await?))
}

/// Exchange a refresh token for new tokens.
///
/// Use the newest one. The one before it gets the same answer again while that is unused, because answers are lost and
/// tabs ask at once; from another network and another program it ends the session, and so does an older one.
#[utoipa::path(post, path = "/auth/refresh", operation_id = "refresh", tag = "accounts", security(()),
    responses((status = OK, description = "The session and its new tokens.", body = SignedIn),
        (status = UNAUTHORIZED, response = Problem)))]
async fn refresh(
    State(app): State<App>,
    // Reading the origin counts the request as a sign-in of its address.
    origin: Origin,
    Json(input): Json<Refresh>,
) -> Result<impl IntoResponse, Problem> {
    Ok(Json(app.refresh(&origin, input).await?))
}

/// Sign out: end the session that asks.
#[utoipa::path(post, path = "/auth/logout", operation_id = "logout", tag = "accounts",
    responses((status = NO_CONTENT, description = "The session has ended.")))]
async fn logout(State(app): State<App>, actor: Actor) -> Result<StatusCode, Problem> {
    app.logout(&actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change the password; every other session ends.
///
/// The refresh token of this session ends, too: go on with those of the answer.
#[utoipa::path(post, path = "/auth/password", operation_id = "changePassword", tag = "accounts",
    responses((status = OK, description = "The password has changed; this session and its new tokens.", body = SignedIn)))]
async fn change_password(
    State(app): State<App>,
    State(shared): State<Shared>,
    actor: Actor,
    origin: Origin,
    Json(input): Json<ChangePassword>,
) -> Result<Json<SignedIn>, Problem> {
    let email = app.read_me(&actor).await?.email;
    let limits = &shared.limits;
    limits
        .check_own_guess(actor.user_id, &email, origin.address)
        .await?;
    Ok(Json(app.change_password(&actor, &origin, input).await?))
}

/// Read one's own account.
#[utoipa::path(get, path = "/me", operation_id = "readMe", tag = "accounts",
    responses((status = OK, description = "The person who asks.", body = Me)))]
async fn read_me(State(app): State<App>, actor: Actor) -> Result<Json<Me>, Problem> {
    Ok(Json(app.read_me(&actor).await?))
}

/// Read the public keys that access tokens are signed with (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "readKeys", tag = "accounts", security(()),
    responses((status = OK, description = "A JSON Web Key Set.", body = serde_json::Value)))]
async fn read_keys(State(app): State<App>) -> impl IntoResponse {
    (KEYS_FRESH, Json(app.jwks().clone()))
}

/// A verifier may hold the keys as long as an access token lives.
const KEYS_FRESH: [(axum::http::HeaderName, &str); 1] = [(CACHE_CONTROL, "public, max-age=300")];
