//! Items of any kind clients may write: `item:put`, `item:delete`.

use super::connection::Caller;
use crate::app::Queued;
use roost_schema::{DeleteItem, PutItem, RoomEvent};

pub(super) fn put(caller: &Caller, input: PutItem) -> Queued<RoomEvent> {
    caller.app.put_item(&caller.actor, input)
}

pub(super) fn delete(caller: &Caller, input: DeleteItem) -> Queued<RoomEvent> {
    caller.app.delete_item(&caller.actor, input)
}
