//! Operations on a room's items: what the use cases queue in its mailbox.

use super::{Actor, App, Result};
use crate::{
    live::{Judge, Write},
    store::journal::{Entry, RequestHash},
};
use roost_schema::{ItemId, OpId, RoomId};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::future::Future;

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
