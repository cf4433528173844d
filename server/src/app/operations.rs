//! Operations on a room's items, which the use cases queue in the room's mailbox.

use super::{
    Actor, Api, App, Error, Result,
    access::{ItemRight, RoomAccess, Writing},
};
use crate::{
    live::{Change, QueuedWrite, Refusal, RoomView},
    store::{
        Read,
        journal::{Entry, RequestHash},
    },
};
use roost_schema::{ErrorCode, ItemId, Kind, Op, OpId, RoomId, Seq};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A write that is parsed and ready to be queued.
pub(super) struct ItemOperation {
    pub(super) op_id: Option<OpId>,
    /// Distinguishes a retry from another request under the same operation id. By route, as earlier releases compare
    /// it.
    pub(super) request_hash: RequestHash,
    /// The same on every route.
    pub(super) asked_hash: RequestHash,
    pub(super) item: ItemId,
    /// Whether the item's id was made for this operation.
    pub(super) is_new: bool,
    pub(super) bytes: usize,
    /// Asked of a member of the room, as of the head that the write would follow.
    pub(super) right: RightRule,
    pub(super) judge: ItemJudge,
}

/// The right that a write needs; it may depend on the item. A refusal here is given before the right is checked.
pub(super) type RightRule =
    Box<dyn Fn(&RoomView, &RoomAccess<Read>) -> Result<ItemRight, Refusal> + Send + Sync>;

/// Judges a write that its actor may make.
pub(super) type ItemJudge =
    Box<dyn Fn(&RoomView, &Writing) -> Result<Change, Refusal> + Send + Sync>;

/// An operation in the queue of its room. Operations are queued in the order of the calls, so the writes of one socket
/// keep their order. Await it for its outcome; it is written even when it is dropped.
#[must_use = "nothing else returns the outcome of the write"]
pub struct Queued<T> {
    /// An error: the operation was refused before it was queued.
    write: std::result::Result<QueuedWrite, Option<Error>>,
    view: fn(Entry) -> Result<T>,
    api: Api,
}

impl<T> Future for Queued<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let written = match &mut self.write {
            Ok(write) => ready!(Pin::new(write).poll(context))?,
            Err(refusal) => return Poll::Ready(Err(refusal.take().unwrap_or(ALREADY_ANSWERED))),
        };
        self.api.count_write();
        Poll::Ready((self.view)(written.entry))
    }
}

impl App {
    /// Queues an operation; `view` makes the answer of its entry. An error is passed on to the answer.
    pub(super) fn write<T>(
        &self,
        actor: &Actor,
        room: RoomId,
        operation: Result<ItemOperation>,
        view: fn(Entry) -> Result<T>,
    ) -> Queued<T> {
        let write = operation.map(|operation| self.queue(actor, room, operation));
        let write = write.map_err(Some);
        let api = actor.api;
        Queued { write, view, api }
    }
}

/// The error of a future that is polled after its answer.
const ALREADY_ANSWERED: Error = Error::refused(ErrorCode::Internal, "it was answered before");

/// The request of an operation, independent of its route. An id that the server makes is absent. The hash of its JSON
/// is kept and compared by later releases, so the JSON must not change: an added field has to be left out while it is
/// absent.
#[derive(Serialize)]
pub(super) struct Asked<B> {
    pub(super) room: RoomId,
    pub(super) item: Option<ItemId>,
    /// Absent for a deletion, which does not name its kind on every route.
    pub(super) kind: Option<Kind>,
    pub(super) op: Op,
    /// The parsed body, so that white space and the order of fields do not matter.
    pub(super) body: B,
    pub(super) if_match: Option<Seq>,
    /// A restore is another request than a put of the same body: the put's answer would bring nothing back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_restore: bool,
}

impl<B: Serialize> Asked<B> {
    pub(super) fn hash(&self) -> RequestHash {
        request_hash("asked", self)
    }
}

/// A fingerprint of what an operation asks for: the use case and everything it was given but the
/// operation id, as JSON.
pub(super) fn request_hash(use_case: &str, input: &impl Serialize) -> RequestHash {
    let mut hash = Sha256::new();
    hash.update(use_case);
    hash.update([0]);
    // Plain data always encodes. If it did not, the hash of the empty text would differ from every request's.
    hash.update(serde_json::to_vec(input).unwrap_or_default());
    RequestHash(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    /// Kept in journals: another value refuses the retries of what was written before.
    #[test]
    fn the_hash_of_what_was_asked_stays() {
        let id = |number| Uuid::from_u128(number);
        let asked = Asked {
            room: RoomId::from_uuid(id(1)),
            item: Some(ItemId::from_uuid(id(2))),
            kind: Some(Kind::Message),
            op: Op::Put,
            body: json!({ "text": "hello" }),
            if_match: Some(Seq(7)),
            is_restore: false,
        };
        assert_eq!(
            hex::encode(asked.hash().0),
            "7b7e753852c49d0f53eaad34b3570cb5ebbf5a0918670d29f5ca3ef909b7501b"
        );
    }
}
