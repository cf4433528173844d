//! A room that is active on this instance.

use super::{Feed, LiveError, Write, Written};
use crate::store::journal::Entry;
use roost_schema::{ErrorCode, ItemId, Position, Role, RoomId, UserId};
use std::{future::Future, sync::Arc};

/// What the room's own state says against a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub sentence: &'static str,
}

/// A room's roles and items as of a head: what a write is judged by.
pub struct RoomView {}

impl RoomView {
    pub fn id(&self) -> RoomId {
        todo!()
    }

    pub fn role_of(&self, user: UserId) -> Option<Role> {
        todo!()
    }

    pub fn is_archived(&self) -> bool {
        todo!()
    }

    /// The newest entry of an item the write named, tombstones included.
    pub fn item(&self, item: ItemId) -> Option<&Entry> {
        todo!()
    }
}

/// A room that is active on this instance.
pub struct LiveRoom {}

impl LiveRoom {
    /// Queues a write, in the order of the calls; the answer comes when it is durable.
    pub fn write(
        &self,
        write: Write,
    ) -> impl Future<Output = Result<Written, LiveError>> + Send + use<> {
        async { todo!() }
    }

    /// The room's roles at the newest head this instance has delivered.
    pub async fn view(&self) -> Result<Arc<RoomView>, LiveError> {
        todo!()
    }

    pub async fn position(&self) -> Result<Position, LiveError> {
        todo!()
    }

    /// Starts a feed for a reader; `None`: from now on.
    pub async fn watch(
        self: Arc<Self>,
        reader: UserId,
        after: Option<Position>,
    ) -> Result<Feed, LiveError> {
        todo!()
    }
}
