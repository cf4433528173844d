//! Loads the people of a request in batches: fifty messages cost one read, not fifty.

use super::auth::Asker;
use crate::app::{App, Error};
use async_graphql::{
    Context,
    dataloader::{DataLoader, Loader},
};
use roost_schema::{User, UserId};
use std::{collections::HashMap, sync::Arc};
use tokio_util::task::TaskTracker;

/// The people one request names. Made anew for each request, as it sees with its asker's eyes.
pub(super) type People = DataLoader<PeopleLoader>;

pub(super) struct PeopleLoader {
    app: App,
    asker: Asker,
}

pub(super) fn people(app: App, asker: Asker, tasks: TaskTracker) -> People {
    DataLoader::new(PeopleLoader { app, asker }, move |batch| tasks.spawn(batch))
}

/// A person by id; `None` when the account is gone.
pub(super) async fn person(ctx: &Context<'_>, id: UserId) -> Result<Option<User>, Arc<Error>> {
    ctx.data_unchecked::<People>().load_one(id).await
}

impl Loader<UserId> for PeopleLoader {
    type Value = User;
    type Error = Arc<Error>;

    async fn load(&self, ids: &[UserId]) -> Result<HashMap<UserId, User>, Self::Error> {
        let actor = self.asker.authenticate(&self.app).await?;
        metrics::counter!("roost_graphql_people_batches_total").increment(1);
        let users = self.app.read_users(&actor, ids).await?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    }
}
