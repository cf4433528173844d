//! Finding people.

use super::auth::caller;
use crate::app::Result;
use async_graphql::{Context, Object};
use roost_schema::User;

#[derive(Default)]
pub(super) struct UserQuery;

#[Object]
impl UserQuery {
    /// People by exact e-mail address, or by the beginning of their name; at most 20, by name.
    async fn search_users(&self, ctx: &Context<'_>, query: String) -> Result<Vec<User>> {
        let (app, actor) = caller(ctx).await?;
        app.search_users(&actor, &query).await
    }
}
