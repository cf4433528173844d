//! Following a room.

use super::auth::caller;
use crate::{
    app::{Error, Result},
    live::Feed,
};
use async_graphql::{Context, Object, Subscription};
use futures::{Stream, stream};
use roost_schema::{Position, RoomEvents, RoomId};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct EventQuery;

#[Object]
impl EventQuery {
    /// What changed after a position, one page; without one, the room's full state.
    async fn events(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<RoomEvents> {
        let (app, actor) = caller(ctx).await?;
        app.list_events(&actor, room, after).await
    }
}

#[derive(Default)]
pub(super) struct EventSubscription;

#[Subscription]
impl EventSubscription {
    /// The changes of a room: first those after the position (none: from now on), then each as it
    /// happens. Ends with an error when you are removed from the room.
    async fn room_events(
        &self,
        ctx: &Context<'_>,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<impl Stream<Item = Result<RoomEvents, Arc<Error>>> + use<>> {
        let (app, actor) = caller(ctx).await?;
        let feed = app.watch_room(&actor, room, after).await?;
        Ok(stream::try_unfold(feed, next_frame))
    }
}

async fn next_frame(mut feed: Feed) -> Result<Option<(RoomEvents, Feed)>, Arc<Error>> {
    match feed.next().await.map_err(Error::from)? {
        Some(frame) => Ok(Some((frame.content(), feed))),
        None => Err(Error::not_found("you are no longer in this room").into()),
    }
}
