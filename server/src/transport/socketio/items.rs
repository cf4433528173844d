//! Items of any kind clients may write: `item:put`, `item:delete`.

use super::connection::Caller;
use crate::app::Result;
use roost_schema::{DeleteItem, PutItem, RoomEvent};

pub(super) fn put(
    caller: &Caller,
    input: PutItem,
) -> impl Future<Output = Result<RoomEvent>> + use<> {
    caller.app.put_item(&caller.actor, input)
}

pub(super) fn delete(
    caller: &Caller,
    input: DeleteItem,
) -> impl Future<Output = Result<RoomEvent>> + use<> {
    caller.app.delete_item(&caller.actor, input)
}
