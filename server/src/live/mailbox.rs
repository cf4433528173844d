//! The one queue of a room's writes on this instance.

use super::{Refusal, RoomView};
use crate::store::journal::{Entry, RequestHash};
use roost_schema::{Body, ItemId, Kind, Op, OpId, UserId};

/// What a write does once it is judged good.
#[derive(Clone, Debug)]
pub struct Change {
    pub item: ItemId,
    pub kind: Kind,
    pub op: Op,
    pub body: Body,
}

/// Judges a write by the room's state at the head it would follow; called again after a lost race.
pub type Judge = Box<dyn Fn(&RoomView) -> Result<Change, Refusal> + Send>;

/// A write on its way into the journal.
pub struct Write {
    pub actor: UserId,
    /// Chosen by the client; absent: one is made, and the write cannot be retried safely.
    pub op_id: Option<OpId>,
    pub request_hash: RequestHash,
    /// The item the judge looks at.
    pub item: ItemId,
    pub judge: Judge,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The entry it made; for a retry, the entry of the first time.
    pub entry: Entry,
    pub is_retry: bool,
}
