//! Items of any kind clients may write: `item:put`, `item:patch`, `item:delete`, `item:restore`, `item:batch`.

use super::connection::Caller;
use crate::app::{Queued, Result};
use roost_schema::{
    BatchItems, BatchOutcome, DeleteItem, PatchItem, PutItem, RestoreItem, RoomEvent,
};

pub(super) fn put(caller: &Caller, input: PutItem) -> Queued<RoomEvent> {
    caller.app.put_item(&caller.actor, input)
}

pub(super) fn patch(caller: &Caller, input: PatchItem) -> Queued<RoomEvent> {
    caller.app.patch_item(&caller.actor, input)
}

pub(super) fn delete(caller: &Caller, input: DeleteItem) -> Queued<RoomEvent> {
    caller.app.delete_item(&caller.actor, input)
}

pub(super) fn restore(caller: &Caller, input: RestoreItem) -> Queued<RoomEvent> {
    caller.app.restore_item(&caller.actor, input)
}

/// Each change counts as an event of the socket.
pub(super) fn batch(
    caller: &Caller,
    input: BatchItems,
) -> impl Future<Output = Result<BatchOutcome>> + Send + use<> {
    let queued = caller
        .connection
        .charge(input.ops.len())
        .map(|()| caller.app.batch_items(&caller.actor, input));
    async { queued?.outcome().await }
}
