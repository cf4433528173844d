//! A signed-in person on one device, and the tokens that prove it.

use crate::{Endpoint, Error, Result, endpoint::answer};
use chrono::Utc;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder};
use roost_schema::{ChangePassword, Refresh, Secret, SignedIn, UserId};
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};

/// An access token is exchanged when it has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// A person who signed in. Cheap to clone; clones share the session.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    signed_in: Arc<Mutex<SignedIn>>,
    /// One exchange at a time: a second one would bring no newer token.
    exchanging: Arc<tokio::sync::Mutex<()>>,
}

impl Client {
    pub(crate) fn new(endpoint: Endpoint, signed_in: SignedIn) -> Self {
        Self {
            endpoint,
            signed_in: Arc::new(Mutex::new(signed_in)),
            exchanging: Arc::default(),
        }
    }

    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same session on another server of the same system, or from another address.
    #[must_use]
    pub fn at(&self, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: endpoint.clone(),
            ..self.clone()
        }
    }

    pub fn user_id(&self) -> UserId {
        self.signed_in().user.id
    }

    /// The account, the session and the newest tokens.
    pub fn signed_in(&self) -> SignedIn {
        self.signed_in.lock().clone()
    }

    /// An access token that is valid for a while: a new one when the present one is about to expire.
    pub async fn access_token(&self) -> Result<Secret> {
        self.access_token_for(RENEW_BEFORE).await
    }

    /// An access token that is valid for so long, or, if the server's tokens are not, a new one.
    pub async fn access_token_for(&self, lasting: Duration) -> Result<Secret> {
        let present = self.signed_in();
        let left = present.access_expires_at - Utc::now();
        if left.to_std().is_ok_and(|left| left > lasting) {
            return Ok(present.access_token);
        }
        self.renew(&present).await
    }

    /// Exchanges the refresh token now.
    pub async fn refresh(&self) -> Result<Secret> {
        self.renew(&self.signed_in()).await
    }

    async fn renew(&self, seen: &SignedIn) -> Result<Secret> {
        let _turn = self.exchanging.lock().await;
        let present = self.signed_in();
        if present.refresh_token != seen.refresh_token {
            return Ok(present.access_token);
        }
        let input = Refresh {
            refresh_token: present.refresh_token,
        };
        let renewed: SignedIn = self.endpoint.post("/api/v1/auth/refresh", &input).await?;
        let token = renewed.access_token.clone();
        *self.signed_in.lock() = renewed;
        Ok(token)
    }

    /// Changes the password, and goes on with the tokens of the answer. A server of the release before answers none,
    /// and leaves the tokens as they are.
    pub async fn change_password(&self, input: &ChangePassword) -> Result<()> {
        let with = |request: RequestBuilder| request.json(input);
        let changed = self.send(Method::POST, "/api/v1/auth/password", with);
        let renewed: Option<SignedIn> = changed.await?;
        if let Some(renewed) = renewed {
            // An exchange that began before ends first, so that its tokens do not replace these.
            let _turn = self.exchanging.lock().await;
            *self.signed_in.lock() = renewed;
        }
        Ok(())
    }

    /// Sends a signed-in request for a route that has no method here; `path` begins with a slash.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<T> {
        let token = self.access_token().await?;
        let request = self.endpoint.request(method, path);
        let response = with(request.bearer_auth(token.expose())).send().await?;
        answer(response).await.inspect_err(|error: &Error| {
            tracing::debug!(path, %error, "refused");
        })
    }
}
