//! Loads the people of a request in batches: fifty messages cost one read, not fifty.

use super::auth::Asker;
use crate::app::{App, Error};
use async_graphql::{
    Context,
    dataloader::{DataLoader, HashMapCache, Loader},
};
use roost_schema::{ErrorCode, Room, RoomId, User, UserId};
use std::{collections::HashMap, sync::Arc};
use tokio_util::task::TaskTracker;

/// The people that one request names. Each request has its own loader, because what a person may see differs.
pub(super) type People = DataLoader<PeopleLoader, HashMapCache>;

pub(super) struct PeopleLoader {
    app: App,
    asker: Asker,
}

pub(super) fn people(app: App, asker: Asker, tasks: TaskTracker) -> People {
    let loader = PeopleLoader { app, asker };
    let cache = HashMapCache::default();
    DataLoader::with_cache(loader, move |batch| tasks.spawn(batch), cache)
}

/// Reads the people of a page at once, if the query asks for this field of its items. The loader would batch the items'
/// reads by itself, but only those that come within its timer.
pub(super) async fn expect(ctx: &Context<'_>, field: &str, ids: impl IntoIterator<Item = UserId>) {
    if ctx.look_ahead().field("items").field(field).exists() {
        // An error is not lost: the resolver of the item's field reads the same people again, and reports it.
        let _ = ctx.data_unchecked::<People>().load_many(ids).await;
    }
}

/// The rooms one request names, each read once.
pub(super) type Rooms = DataLoader<RoomLoader, HashMapCache>;

pub(super) struct RoomLoader {
    app: App,
    asker: Asker,
}

pub(super) fn rooms(app: App, asker: Asker, tasks: TaskTracker) -> Rooms {
    let loader = RoomLoader { app, asker };
    let cache = HashMapCache::default();
    DataLoader::with_cache(loader, move |batch| tasks.spawn(batch), cache)
}

/// A room by id; `None` when the asker is no member.
pub(super) async fn room(ctx: &Context<'_>, id: RoomId) -> Result<Option<Room>, Arc<Error>> {
    ctx.data_unchecked::<Rooms>().load_one(id).await
}

/// Reads the rooms one after the other: a page names at most as many rooms as it has items, and mostly one.
impl Loader<RoomId> for RoomLoader {
    type Value = Room;
    type Error = Arc<Error>;

    async fn load(&self, ids: &[RoomId]) -> Result<HashMap<RoomId, Room>, Self::Error> {
        let actor = self.asker.authenticate(&self.app)?;
        let mut rooms = HashMap::with_capacity(ids.len());
        for id in ids {
            match self.app.read_room(&actor, *id).await {
                Ok(room) => drop(rooms.insert(*id, room)),
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error.beside().into()),
            }
        }
        Ok(rooms)
    }
}

/// A person by id; `None` when the account is gone.
pub(super) async fn person(ctx: &Context<'_>, id: UserId) -> Result<Option<User>, Arc<Error>> {
    ctx.data_unchecked::<People>().load_one(id).await
}

impl Loader<UserId> for PeopleLoader {
    type Value = User;
    type Error = Arc<Error>;

    async fn load(&self, ids: &[UserId]) -> Result<HashMap<UserId, User>, Self::Error> {
        metrics::counter!("roost_graphql_people_batches_total").increment(1);
        let read = async {
            let actor = self.asker.authenticate(&self.app)?;
            self.app.read_users(&actor, ids).await
        };
        let users = read.await.map_err(Error::beside)?;
        Ok(users.into_iter().map(|user| (user.id, user)).collect())
    }
}
