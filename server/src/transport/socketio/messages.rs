//! Messages: `message:send`.

use super::connection::Caller;
use crate::app::Queued;
use roost_schema::{Message, SendMessage, SendMessageToRoom};

pub(super) fn send(caller: &Caller, input: SendMessageToRoom) -> Queued<Message> {
    let message = SendMessage {
        text: input.text,
        id: input.id,
        op_id: input.op_id,
    };
    caller.app.send_message(&caller.actor, input.room, message)
}
