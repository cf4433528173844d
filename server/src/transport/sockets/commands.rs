//! The commands of a socket, one row each: its name, what it takes, what it costs, and the use case.

use super::{begun::Begun, rooms, sender::Reply, socket::Caller};
use crate::{app::Result, transport::refusal_metrics};
use roost_schema::{
    BatchItems, BatchOutcome, DeleteItem, InRoom, JoinRoom, MoveCursor, PatchItem, PutItem,
    RenewSocket, RestoreItem, RoomEvent, SendMessage, SendMessageToRoom,
};
use serde::{Serialize, de::DeserializeOwned};
use std::future::ready;

/// A carrier calls the function of each command's row. What the function does before its first await happens in the
/// order of the commands; what it awaits runs concurrently with later commands.
pub(in crate::transport) trait Commands {
    type Reply: Reply;

    /// `cost`: how many events the command counts as in the socket's budget. A command counts as one before its input
    /// is read, and as the rest of its cost after that.
    fn answer<Input, View, Answer>(
        &self,
        name: &'static str,
        cost: fn(&Input) -> usize,
        run: fn(&Caller, Input) -> Answer,
    ) where
        Input: DeserializeOwned + Send + Sync + 'static,
        View: Serialize + Send + Sync + 'static,
        Answer: Future<Output = Result<View>> + Send + 'static;

    /// Registers a command that goes on after its reply. What it does then is not charged.
    fn converse<Input>(
        &self,
        name: &'static str,
        cost: fn(&Input) -> usize,
        run: fn(&Caller, Input, Self::Reply) -> Begun<()>,
    ) where
        Input: DeserializeOwned + Send + Sync + 'static;
}

/// Registers every command.
#[rustfmt::skip]
pub(in crate::transport) fn table(to: &impl Commands) {
    to.converse("room:join", one::<JoinRoom>, rooms::join);
    to.answer("room:leave", one::<InRoom>, rooms::leave);
    to.answer("item:put", one, |by, input: PutItem| by.app().put_item::<RoomEvent>(&by.actor, input));
    to.answer("item:patch", one, |by, input: PatchItem| by.app().patch_item::<RoomEvent>(&by.actor, input));
    to.answer("item:delete", one, |by, input: DeleteItem| by.app().delete_item::<RoomEvent>(&by.actor, input));
    to.answer("item:restore", one, |by, input: RestoreItem| by.app().restore_item::<RoomEvent>(&by.actor, input));
    to.answer("item:batch", |input: &BatchItems| input.ops.len(), batch);
    to.answer("message:send", one, |by, SendMessageToRoom { room, text, id, op_id }| by.app().send_message(&by.actor, room, SendMessage { text, id, op_id }));
    to.answer("cursor:move", one, |by, input: MoveCursor| ready(by.app().move_cursor(&by.actor, &input).map(|()| InRoom { room: input.room })));
    to.answer("typing:start", one, |by, input: InRoom| ready(by.app().start_typing(&by.actor, &input).map(|()| input)));
    to.answer("auth:refresh", one, |by, input: RenewSocket| ready(by.renew(&input)));
}

/// The cost of a command whose input makes it no dearer. An event that names no command costs the same.
pub(in crate::transport) const fn one<Input>(_: &Input) -> usize {
    1
}

fn batch(by: &Caller, input: BatchItems) -> Begun<Result<BatchOutcome>> {
    let (queued, api) = (by.app().batch_items(&by.actor, input), by.actor.api);
    Begun::new(async move {
        let done = queued.outcome().await?;
        refusal_metrics::count_changes(api, &done);
        Ok(done)
    })
}
