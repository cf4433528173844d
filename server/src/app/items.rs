//! Items by their kind, as Socket.IO writes them; each kind's own file judges its writes.

use super::{
    Actor, App, Error, Result,
    messages::{DeleteJudge, MessageBody, PutJudge, PutMode},
    operations::{Operation, request_hash},
};
use crate::live::Refusal;
use roost_schema::{DeleteItem, ErrorCode, Kind, PutItem, RoomEvent};
use std::future::Future;

/// Largest body of an item, in bytes of JSON.
const ITEM_BODY_BYTES_MAX: usize = 256 * 1_024;

impl App {
    /// Creates or changes an item of any kind clients may write; else `unsupported_kind`. The write
    /// takes its place in the room's queue before this returns.
    pub fn put_item(
        &self,
        actor: &Actor,
        input: PutItem,
    ) -> impl Future<Output = Result<RoomEvent>> + Send + use<> {
        let room = input.room;
        let queued =
            put_operation(actor, input).map(|operation| self.write(actor, room, operation));
        async move { queued?.await.map(RoomEvent::from) }
    }

    /// Deletes an item of any kind clients may write; queued like [`App::put_item`].
    pub fn delete_item(
        &self,
        actor: &Actor,
        input: DeleteItem,
    ) -> impl Future<Output = Result<RoomEvent>> + Send + use<> {
        self.delete(actor, input, UNSUPPORTED_KIND)
    }

    /// `of_unknown_kind`: what is answered for an item that is there, of a kind that this release does not know.
    pub(super) fn delete(
        &self,
        actor: &Actor,
        input: DeleteItem,
        of_unknown_kind: Refusal,
    ) -> impl Future<Output = Result<RoomEvent>> + Send + use<> {
        let operation = Operation {
            request_hash: request_hash("delete", &(input.room, input.item, input.if_match)),
            op_id: input.op_id,
            item: input.item,
            is_new: false,
            bytes: 0,
            judge: DeleteJudge {
                actor: *actor,
                item: input.item,
                if_match: input.if_match,
                of_unknown_kind,
            }
            .into_judge(),
        };
        let written = self.write(actor, input.room, operation);
        async move { written.await.map(RoomEvent::from) }
    }
}

fn put_operation(actor: &Actor, input: PutItem) -> Result<Operation> {
    let kind = Kind::from(input.kind.as_str());
    if let Kind::Other(_) = kind {
        return Err(UNSUPPORTED_KIND.into());
    }
    if input.body.to_string().len() > ITEM_BODY_BYTES_MAX {
        return Err(Error::refused(
            ErrorCode::TooLarge,
            "an item's body is at most 256 KiB",
        ));
    }
    match kind {
        Kind::Message => {
            let body = MessageBody::parse(&input.body)?;
            let request = ("put", input.room, input.item, &body, input.if_match);
            let request_hash = request_hash("item", &request);
            let judge = PutJudge::new(actor, input.item, body, PutMode::Either, input.if_match)?;
            Ok(judge.into_operation(input.op_id, request_hash))
        }
        Kind::Room | Kind::Member | Kind::Session | Kind::Other(_) => Err(UNSUPPORTED_KIND.into()),
    }
}

const UNSUPPORTED_KIND: Refusal = Refusal {
    code: ErrorCode::UnsupportedKind,
    sentence: "there is no such kind of item, or clients may not write it",
};
