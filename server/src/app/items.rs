//! Items by their kind, as Socket.IO writes them; each kind's own file judges its writes.

use super::{
    Actor, App, Error, Result,
    messages::{DeleteJudge, MessageBody, PutJudge, PutMode},
};
use crate::{
    live::{Judge, Write},
    store::journal::{Entry, RequestHash},
};
use roost_schema::{DeleteItem, ErrorCode, ItemId, Kind, OpId, PutItem, RoomEvent, RoomId};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::future::Future;

/// Largest body of an item, in bytes of JSON.
const ITEM_BODY_BYTES_MAX: usize = 256 * 1_024;

/// A write that is parsed and ready to be queued.
pub(super) struct Operation {
    pub(super) op_id: Option<OpId>,
    /// Tells a retry from another request under the same operation id.
    pub(super) request_hash: RequestHash,
    pub(super) item: ItemId,
    /// The item's id was made for this operation.
    pub(super) is_new: bool,
    pub(super) bytes: usize,
    pub(super) judge: Judge,
}

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
            }
            .into_judge(),
        };
        let written = self.write(actor, input.room, operation);
        async move { written.await.map(RoomEvent::from) }
    }

    /// Queues an operation, in the order of the calls; the answer is the entry it made.
    pub(super) fn write(
        &self,
        actor: &Actor,
        room: RoomId,
        operation: Operation,
    ) -> impl Future<Output = Result<Entry>> + Send + use<> {
        const ENVELOPE_BYTES: usize = 512;
        let written = self.live.room(room).write(Write {
            actor: actor.user_id,
            op_id: operation.op_id,
            request_hash: operation.request_hash,
            item: operation.item,
            is_new: operation.is_new,
            bytes: operation.bytes + ENVELOPE_BYTES,
            judge: operation.judge,
        });
        async move { Ok(written.await?.entry) }
    }
}

fn put_operation(actor: &Actor, input: PutItem) -> Result<Operation> {
    const UNSUPPORTED: Error = Error::refused(
        ErrorCode::UnsupportedKind,
        "there is no such kind of item, or clients may not write it",
    );
    let kind: Kind = input.kind.parse().map_err(|_| UNSUPPORTED)?;
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
        Kind::Room | Kind::Member | Kind::Session => Err(UNSUPPORTED),
    }
}

/// A fingerprint of what an operation asks for: the use case and everything it was given but the
/// operation id, as JSON.
pub(super) fn request_hash(use_case: &str, input: &impl Serialize) -> RequestHash {
    let mut hash = Sha256::new();
    hash.update(use_case);
    hash.update([0]);
    // Plain data of ours always encodes; should it not, the empty text differs from every request.
    hash.update(serde_json::to_vec(input).unwrap_or_default());
    RequestHash(hash.finalize().into())
}
