//! The room journal: the durable, totally ordered record of everything that changed in a room.
//!
//! Promises of every implementation, held by one contract test (`tests/it/journal/`):
//!
//! * The unique pair (room, seq) is the sequencer. Two writers that know the same head insert the same seq; exactly one
//!   wins, the other gets [`Stop::SlotTaken`].
//! * The unique triple (room, actor, op id) makes a retry visible: [`Stop::OperationKnown`].
//! * An entry that `append` counts as committed survives the death of this process, the store and its host.
//! * Seqs have no gaps: entries are committed as a prefix of the batch. (SQL: all or none.)
//! * No statement is sent through a shut [`Gate`], however long the append has waited before.
//! * An outcome that cannot be known is an error, [`JournalError::OutcomeUnknown`], never a guess.
//! * An item may have two `current` entries for a moment: readers take the higher seq as its state.
//! * Kinds and ops are text. An entry of an op that this release does not know is kept and read like any other. It
//!   clears no older entry and is no state: it stays current beside its item's state until the next state.
//! * An entry without a body was emptied, or is an error, never a deletion.
//! * A read notices a changed bit, because each entry is kept with hashes of its content (`seal.rs`), and a page of
//!   `log` that misses one of its entries is refused. Both are [`JournalError::Corrupt`]. An entry of a release that
//!   wrote no hashes is read without the check, and counted; one that cannot be read at all is
//!   [`JournalError::Unsound`].

mod audit;
mod encoding;
mod gate;
mod measured;
mod mongo;
mod quarantine;
mod seal;
mod sql;
mod terms;

pub use audit::{Audited, Finding, audit, audit_all};
pub use gate::{Gate, OpenGate, STATEMENT_MAX};
pub use measured::MeasuredJournal;
pub use mongo::{MongoDiagnostics, MongoJournal};
pub use quarantine::QuarantiningJournal;
pub use sql::SqlJournal;
pub use terms::Terms;

use anyhow::anyhow;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use roost_schema::{Body, Direction, Epoch, ItemId, Kind, Op, OpId, RoomId, Seq, Term, UserId};
use serde::{Deserialize, Deserializer, Serialize};
use std::{collections::HashMap, sync::Arc};

/// The most entries of a page of `log` or `changes`, however small their bodies are.
pub const PAGE_ENTRIES_MAX: usize = 1_024;
/// The most bytes that one `find` reads, even when it finds fewer items than it may; each room has an equal share.
pub const FIND_BYTES_MAX: usize = 1 << 20;
/// The most rooms that one `find` searches.
pub const FIND_ROOMS_MAX: usize = 50;

/// The SHA-256 hash of a request. It distinguishes a retry from another request with the same op id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHash(#[serde(with = "hex::serde")] pub [u8; 32]);

/// One change of one item, holding the item's full new state. Instances announce it to each other as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub room: RoomId,
    pub seq: Seq,
    pub item: ItemId,
    pub kind: Kind,
    pub op: Op,
    /// `null` for a deletion.
    pub body: Body,
    pub actor: UserId,
    /// Absent in an emptied entry.
    #[serde(deserialize_with = "kept_op_id")]
    pub op_id: Option<OpId>,
    /// The hash of the request and its route, which earlier releases compare.
    pub request_hash: RequestHash,
    /// The hash of the request without its route; absent in entries of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_hash: Option<RequestHash>,
    /// Whole milliseconds, the precision that every store keeps.
    pub at: DateTime<Utc>,
    /// The seq of the item's first entry; items are listed in this order.
    pub born: Seq,
    /// The terms by which the item is found while this is its newest entry.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
    /// No newer entry of the item was known when this one was read. An emptied entry is not current.
    pub current: bool,
}

/// Reads an op id without checking it: it was checked when it was written, and the server's own op ids break the
/// clients' rules.
fn kept_op_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OpId>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(OpId::from_kept))
}

impl Entry {
    /// The entry for operators who inspect a journal: ids as text, the body unchanged.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "room": self.room, "seq": self.seq, "item": self.item, "kind": self.kind, "op": self.op,
            "body": self.body, "actor": self.actor, "opId": self.op_id, "at": self.at,
            "born": self.born, "terms": self.terms, "current": self.current,
        })
    }
}

/// The result of appending a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// How many entries, counted from the first, are durable now.
    pub committed: usize,
    /// Why the other entries are not durable; `None` when all are.
    pub stop: Option<Stop>,
}

/// Why a batch stopped. The entries after `committed` were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Another writer has the slot, or the slot before it is empty: read on from the head.
    SlotTaken,
    /// The journal has one of the operations already: look them up.
    OperationKnown,
}

/// Entries ascending by seq (or in the requested direction), cut at a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Whether entries beyond the last one remain.
    pub more: bool,
}

/// The epoch, and the heads of the requested rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    pub epoch: Epoch,
    pub rooms: HashMap<RoomId, RoomHead>,
}

/// The head and the floor of one room; both are 0 in a room without entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomHead {
    /// The newest seq.
    pub head: Seq,
    /// Tombstones up to this seq may be gone: a reader below it needs the full state.
    pub floor: Seq,
}

/// Selects living items of one kind, in the order of their first entries.
#[derive(Clone, Debug)]
pub struct FindQuery {
    pub kind: Kind,
    /// Only items whose newest entry has this term.
    pub term: Option<Term>,
    pub direction: Direction,
    /// The most items of each room.
    pub limit_items: usize,
}

/// A room to search: all of it, or only items born strictly beyond a seq, in the direction of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindRoom {
    pub room: RoomId,
    pub beyond: Option<Seq>,
}

/// Which entries to empty; see [`Journal::trim`].
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    /// Superseded entries written before this time are emptied. It is at least 24 h ago.
    pub superseded_before: DateTime<Utc>,
    /// Tombstones written before this time are emptied, after the floor is raised above them.
    pub tombstones_before: DateTime<Utc>,
}

impl Appended {
    fn all(batch: &[Entry]) -> Self {
        Self {
            committed: batch.len(),
            stop: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The write may or may not be durable: read the head before writing again.
    #[error("the outcome of a journal write is unknown")]
    OutcomeUnknown(#[source] anyhow::Error),
    /// Nothing was written: the store cannot be reached, or it refuses.
    #[error("the journal is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// Nothing was written: the gate was shut before the statement was sent.
    #[error("this instance may not write")]
    Fenced,
    /// Stored data cannot be read, or a setting is weaker than the promises need. An operator has to repair it.
    #[error("the journal is unsound: {0}")]
    Unsound(String),
    /// A stored entry is not what was written: a failing disk or a person has changed it.
    #[error("entry {seq} of room {room} is corrupt: {problem}")]
    Corrupt {
        room: RoomId,
        seq: Seq,
        problem: String,
    },
}

impl JournalError {
    /// Whether the same read fails again soon, until an operator has repaired the stored data.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Unsound(_) | Self::Corrupt { .. })
    }
}

pub type Result<T, E = JournalError> = std::result::Result<T, E>;

/// The journal of every room. Two implementations: `MongoDB`, and SQL (`PostgreSQL` and `SQLite`).
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends entries of one room whose seqs are head+1, head+2, …: the entry before the first must exist (unless the
    /// first is seq 1). Every entry is inserted current. Older entries of the same items are cleared by exactly
    /// `room, item, current, seq < mine`, where mine sets the item's state. (SQL: an entry that a later one of the
    /// batch supersedes is inserted not current, and a refused batch clears nothing.)
    ///
    /// The gate is asked after each wait, right before the statement that makes the entries durable. When it is shut,
    /// nothing is written and the answer is [`JournalError::Fenced`].
    async fn append(&self, room: RoomId, batch: &[Entry], gate: &Arc<dyn Gate>)
    -> Result<Appended>;

    /// The epoch, and the head and floor of each requested room, by one query.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads>;

    /// Every entry after a seq, ascending, emptied ones included (as deletions with a null body and no op id). At least
    /// one entry if there is any, then until `limit_bytes` of bodies, without gaps.
    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page>;

    /// The newest entry of each item changed after a seq, tombstones included, ascending; bounded
    /// as `log` is. The last seq of a page is a position safe to resume from.
    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page>;

    /// The newest entry of each of these items, tombstones included; unknown items are left out.
    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>>;

    /// The entries of these operations; unknown operations are left out.
    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>>;

    /// Living items by `born`: a page for each of at most [`FIND_ROOMS_MAX`] rooms, in their order. A page has at least
    /// one item if there is any, then items until the room's share of [`FIND_BYTES_MAX`]. An item has only the terms of
    /// its newest entry. A tombstone hides the older entries of its item, and is then left out.
    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>>;

    /// The same in one room.
    async fn find_in(&self, room: FindRoom, query: FindQuery) -> Result<Page> {
        let pages = self.find(&[room], query).await?;
        let only = pages.into_iter().next();
        only.ok_or_else(|| JournalError::Unavailable(anyhow!("a room was not looked into")))
    }

    /// Up to `limit_rooms` rooms that have entries, ordered by id, after `beyond`.
    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>>;

    /// Raises floors, then empties (body, op id, current) the entries that are older than the bounds. Rows keep their
    /// (room, seq) for ever, so that no slot is given twice. Answers how many entries were emptied.
    async fn trim(&self, bounds: Trim) -> Result<u64>;

    /// Starts another epoch if the present one is `known`; answers the present epoch.
    async fn change_epoch(&self, known: Epoch) -> Result<Epoch>;

    /// Checks that the store is as durable as promised (unique indexes, `synchronous`, `synchronous_commit`, write and
    /// read concern). Weaker settings are an error.
    async fn verify(&self) -> Result<()>;
}

impl FindQuery {
    /// All items of a kind.
    pub const fn all(kind: Kind, direction: Direction, limit_items: usize) -> Self {
        Self {
            kind,
            term: None,
            direction,
            limit_items,
        }
    }
}

/// How many bytes one of several rooms may answer with.
fn share_bytes(rooms: usize) -> usize {
    FIND_BYTES_MAX / rooms.max(1)
}

fn check_rooms(rooms: &[FindRoom]) -> Result<()> {
    if rooms.len() <= FIND_ROOMS_MAX {
        return Ok(());
    }
    let error = anyhow!("at most {FIND_ROOMS_MAX} rooms are looked into at once");
    Err(JournalError::Unavailable(error))
}

/// Refuses a batch that is not one run of entries of one room, because it would leave a gap.
fn check_batch(room: RoomId, batch: &[Entry]) -> Result<()> {
    let is_run = batch
        .windows(2)
        .all(|pair| pair[1].seq == pair[0].seq.next());
    let is_ours = batch
        .iter()
        .all(|entry| entry.room == room && entry.seq > Seq::ZERO);
    if is_run && is_ours {
        return Ok(());
    }
    let error = anyhow!("a batch holds consecutive entries of one room");
    Err(JournalError::Unavailable(error))
}

/// Refuses a page with a gap: seqs are given without gaps, so the missing entry was lost.
fn check_log(room: RoomId, after: Seq, page: Page) -> Result<Page> {
    let mut expected = after.next();
    for entry in &page.entries {
        if entry.seq != expected {
            return Err(JournalError::Corrupt {
                room,
                seq: expected,
                problem: "it is missing".to_owned(),
            });
        }
        expected = expected.next();
    }
    Ok(page)
}

/// A random epoch that no journal had before: 62 bits, never 0.
fn new_epoch() -> Epoch {
    Epoch(rand::random_range(1..1 << 62))
}
