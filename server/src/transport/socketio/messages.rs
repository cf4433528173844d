//! Messages: `message:send`.

use super::connection::Caller;
use crate::app::Result;
use roost_schema::{Message, SendMessage, SendMessageToRoom};

/// Queues the message before it returns, so that messages of one socket keep their order.
pub(super) fn send(
    caller: &Caller,
    input: SendMessageToRoom,
) -> impl Future<Output = Result<Message>> + use<> {
    let message = SendMessage {
        text: input.text,
        id: input.id,
        op_id: input.op_id,
    };
    caller.app.send_message(&caller.actor, input.room, message)
}
