//! Authenticates the access token of a request when a field needs its person.

use crate::{
    app::{Actor, Api, App, Error, Origin, Result},
    transport::{ClientAddress, Shared},
};
use async_graphql::Context;
use axum::http::{
    header::{AUTHORIZATION, USER_AGENT},
    request::Parts,
};
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};

/// The access token and the address of a request. The token is not checked yet.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) token: Option<String>,
    pub(super) origin: Origin,
}

/// The use cases, and the person who asks. Counts as one request of theirs, as each root field is.
pub(super) async fn caller<'a>(ctx: &Context<'a>) -> Result<(&'a App, Actor)> {
    let (app, asker) = anyone(ctx);
    let actor = asker.authenticate(app)?;
    let limits = &ctx.data_unchecked::<Shared>().limits;
    limits.check_account(actor.user_id).await?;
    Ok((app, actor))
}

/// The use cases that need no account or show a password, and where the request comes from. Counts as one
/// try to sign in, as each root field does.
pub(super) async fn guest<'a>(ctx: &Context<'a>) -> Result<(&'a App, &'a Origin)> {
    let (app, asker) = anyone(ctx);
    let limits = &ctx.data_unchecked::<Shared>().limits;
    limits.check_sign_in(asker.origin.address).await?;
    Ok((app, &asker.origin))
}

fn anyone<'a>(ctx: &Context<'a>) -> (&'a App, &'a Asker) {
    (ctx.data_unchecked::<App>(), ctx.data_unchecked::<Asker>())
}

impl Asker {
    pub(super) fn of(parts: &Parts) -> Self {
        let text = |name| parts.headers.get(name)?.to_str().ok();
        let client = parts.extensions.get::<ClientAddress>();
        Self {
            token: text(AUTHORIZATION).and_then(bearer_of),
            origin: Origin {
                address: client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0),
                user_agent: text(USER_AGENT).map(str::to_owned),
            },
        }
    }

    pub(super) fn authenticate(&self, app: &App) -> Result<Actor> {
        let token = self.token.as_deref().ok_or_else(Error::unauthenticated)?;
        app.authenticate(token, Api::Graphql)
    }
}

/// The token of `Bearer …`; RFC 9110 §11.1: the scheme's name is case-insensitive.
pub(super) fn bearer_of(credentials: &str) -> Option<String> {
    let (scheme, token) = credentials.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

/// The token in `connection_init`, as `{"Authorization": "Bearer …"}`.
pub(super) fn token_of(payload: &Map<String, Value>) -> Option<String> {
    let mut members = payload.iter();
    let (_, value) = members.find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    bearer_of(value.as_str()?)
}
