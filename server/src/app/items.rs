//! Items by their kind, as Socket.IO writes them: each kind's own use case does the work.

use super::{Actor, App, Result};
use roost_schema::{DeleteItem, PutItem, RoomEvent};
use std::future::Future;

impl App {
    /// Creates or changes an item of any kind clients may write; else `unsupported_kind`.
    pub fn put_item(
        &self,
        actor: &Actor,
        input: PutItem,
    ) -> impl Future<Output = Result<RoomEvent>> + Send + use<> {
        async { todo!() }
    }

    pub fn delete_item(
        &self,
        actor: &Actor,
        input: DeleteItem,
    ) -> impl Future<Output = Result<RoomEvent>> + Send + use<> {
        async { todo!() }
    }
}
