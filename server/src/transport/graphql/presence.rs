//! Who is in a room now.

use super::auth::caller;
use crate::app::Result;
use async_graphql::{Context, Object};
use roost_schema::{Presence, RoomId};

#[derive(Default)]
pub(super) struct PresenceQuery;

#[Object]
impl PresenceQuery {
    /// The people who are in the room now.
    async fn presence(&self, ctx: &Context<'_>, room: RoomId) -> Result<Vec<Presence>> {
        let (app, actor) = caller(ctx).await?;
        app.list_presence(&actor, room).await
    }
}
