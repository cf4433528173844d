//! Who is asking: the bearer token of a request, and where a request without one comes from.

use super::{Problem, Rest};
use crate::{
    app::{Actor, Error, Origin},
    transport::ClientAddress,
};
use axum::{
    extract::FromRequestParts,
    http::{
        header::{AUTHORIZATION, USER_AGENT},
        request::Parts,
    },
};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

impl FromRequestParts<Rest> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or_else(Error::unauthenticated)?;
        let actor = rest.app.authenticate(token).await?;
        rest.shared.limits.check_account(actor.user_id)?;
        Ok(actor)
    }
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts
        .headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let client = parts.extensions.get::<ClientAddress>();
        let user_agent = parts.headers.get(USER_AGENT);
        Ok(Self {
            address: client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0),
            user_agent: user_agent.and_then(|value| value.to_str().ok().map(str::to_owned)),
        })
    }
}
