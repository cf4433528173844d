//! Authenticates the bearer token of a request, and names the origin of a request without one.

use super::{Problem, Rest};
use crate::{
    app::{Actor, Api, Error, Origin},
    transport::{ClientAddress, request::bearer},
};
use axum::{
    extract::FromRequestParts,
    http::{header::USER_AGENT, request::Parts},
};
use std::net::{IpAddr, Ipv4Addr};

impl FromRequestParts<Rest> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or_else(Error::unauthenticated)?;
        let actor = rest.app.authenticate(token, Api::Rest)?;
        rest.shared.limits.check_account(actor.user_id).await?;
        Ok(actor)
    }
}

/// Counts a try to sign in. Only routes without a token, or with a password, take an `Origin`.
impl FromRequestParts<Rest> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Problem> {
        let client = parts.extensions.get::<ClientAddress>();
        let address = client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0);
        rest.shared.limits.check_sign_in(address).await?;
        let user_agent = parts.headers.get(USER_AGENT);
        Ok(Self {
            address,
            user_agent: user_agent.and_then(|value| value.to_str().ok().map(str::to_owned)),
        })
    }
}
