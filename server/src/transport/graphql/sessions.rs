//! Sessions: a person's devices.

use super::auth::caller;
use crate::app::Result;
use async_graphql::{Context, Object};
use roost_schema::{NameSession, Session, SessionId};

#[derive(Default)]
pub(super) struct SessionQuery;

#[Object]
impl SessionQuery {
    /// The devices of the person who asks.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Vec<Session>> {
        let (app, actor) = caller(ctx).await?;
        app.list_sessions(&actor).await
    }
}

#[derive(Default)]
pub(super) struct SessionMutation;

#[Object]
impl SessionMutation {
    async fn name_session(
        &self,
        ctx: &Context<'_>,
        session: SessionId,
        input: NameSession,
    ) -> Result<Session> {
        let (app, actor) = caller(ctx).await?;
        app.name_session(&actor, session, input).await
    }

    /// Ends one of one's own sessions, this one included.
    async fn revoke_session(&self, ctx: &Context<'_>, session: SessionId) -> Result<bool> {
        let (app, actor) = caller(ctx).await?;
        app.revoke_session(&actor, session).await.map(|()| true)
    }

    /// Ends every session but the one that asks; answers how many.
    async fn revoke_other_sessions(&self, ctx: &Context<'_>) -> Result<u64> {
        let (app, actor) = caller(ctx).await?;
        app.revoke_other_sessions(&actor).await
    }
}
