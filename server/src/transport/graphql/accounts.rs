//! Accounts: register, sign in and out, refresh, change the password.

use super::auth::{caller, guest};
use crate::{app::Result, transport::Shared};
use async_graphql::{Context, Object};
use roost_schema::{ChangePassword, Login, Me, Refresh, Register, SignedIn};

#[derive(Default)]
pub(super) struct AccountQuery;

#[Object]
impl AccountQuery {
    /// The person who asks.
    async fn me(&self, ctx: &Context<'_>) -> Result<Me> {
        let (app, actor) = caller(ctx).await?;
        app.read_me(&actor).await
    }
}

#[derive(Default)]
pub(super) struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Makes an account and signs in.
    async fn register(&self, ctx: &Context<'_>, input: Register) -> Result<SignedIn> {
        let (app, origin) = guest(ctx).await?;
        // With an operation id that is known, a password is judged here, too.
        let limits = &ctx.data_unchecked::<Shared>().limits;
        limits.check_guess(&input.email, origin.address).await?;
        app.register(origin, input).await
    }

    async fn login(&self, ctx: &Context<'_>, input: Login) -> Result<SignedIn> {
        let (app, origin) = guest(ctx).await?;
        let limits = &ctx.data_unchecked::<Shared>().limits;
        limits.check_guess(&input.email, origin.address).await?;
        app.login(origin, input).await
    }

    /// Exchanges a refresh token for a new pair of tokens. Use the newest one: an older one can end the session.
    async fn refresh(&self, ctx: &Context<'_>, input: Refresh) -> Result<SignedIn> {
        let (app, origin) = guest(ctx).await?;
        app.refresh(origin, input).await
    }

    /// Ends the session that asks.
    async fn logout(&self, ctx: &Context<'_>) -> Result<bool> {
        let (app, actor) = caller(ctx).await?;
        app.logout(&actor).await.map(|()| true)
    }

    /// Changes the password; every other session ends. Go on with the tokens of the answer.
    async fn change_password(&self, ctx: &Context<'_>, input: ChangePassword) -> Result<SignedIn> {
        let (app, actor) = caller(ctx).await?;
        let (_, origin) = guest(ctx).await?;
        let email = app.read_me(&actor).await?.email;
        let limits = &ctx.data_unchecked::<Shared>().limits;
        let checked = limits.check_own_guess(actor.user_id, &email, origin.address);
        checked.await?;
        app.change_password(&actor, origin, input).await
    }
}
