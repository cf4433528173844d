//! The room journal: the durable, totally ordered record of everything that changed in a room.
//!
//! Promises of every implementation, held by one contract test (`tests/it/journal.rs`):
//!
//! * The unique pair (room, seq) is the sequencer. Two writers that know the same head insert the
//!   same seq; exactly one wins, the other gets [`Stop::SlotTaken`]. There are no holes.
//! * The unique triple (room, actor, op id) makes a retry visible: [`Stop::OperationKnown`].
//! * What `append` counts as committed survives the death of this process, the store and its host.
//! * A batch never makes a hole: entries are committed as a prefix of what was given. (SQL: all or none.)
//! * Nothing is sent through a shut [`Gate`], however long the append has waited before.
//! * An outcome that cannot be known is an error, [`JournalError::OutcomeUnknown`], never a guess.
//! * Readers tolerate two `current` entries of one item for a moment: the higher seq is the state.
//! * Kinds and ops are text. An entry of an op that this release does not know is kept and read like any other; it
//!   clears no older entry and is no state: it stays current beside its item's state until the next one.
//! * An entry without a body was emptied, or is an error, never a deletion.
//! * A changed bit is noticed by the read that meets it: an entry is kept with hashes of what it was (`seal.rs`), and a page of
//!   `log` without one of its entries is no page. Both are [`JournalError::Corrupt`]. An entry of a release that wrote no
//!   hashes is read as it is, and counted; one that cannot be read at all is [`JournalError::Unsound`].

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

/// A page of `log` and `changes` ends here even when its bodies are small.
pub const PAGE_ENTRIES_MAX: usize = 1_024;
/// What one `find` reads ends here even when fewer items than asked for were read; each room has an equal share of it.
pub const FIND_BYTES_MAX: usize = 1 << 20;
/// Rooms that one `find` looks into.
pub const FIND_ROOMS_MAX: usize = 50;

/// A fingerprint (SHA-256) of what an operation asked for; distinguishes a retry from a reused op id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHash(#[serde(with = "hex::serde")] pub [u8; 32]);

/// One change of one item, holding the item's full new state. As JSON, instances tell it each other.
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
    /// Absent once the entry was emptied.
    #[serde(deserialize_with = "kept_op_id")]
    pub op_id: Option<OpId>,
    /// By the route it came on, as earlier releases compare it.
    pub request_hash: RequestHash,
    /// Whatever route it came on; absent where an earlier release wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_hash: Option<RequestHash>,
    /// Whole milliseconds, so that every store gives back what it was given.
    pub at: DateTime<Utc>,
    /// The seq of the item's first entry; items are found in this order.
    pub born: Seq,
    /// What the item is found by while this is its newest entry.
    #[serde(default, skip_serializing_if = "Terms::is_empty")]
    pub terms: Terms,
    /// No newer entry of the item was known when this was read. An emptied entry is not current.
    pub current: bool,
}

/// What is in the journal was checked when it came: the server's own operations have ids that no client can choose.
fn kept_op_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OpId>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(OpId::from_kept))
}

impl Entry {
    /// The entry for people and programs that look into a journal: ids as text, the body as it is.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "room": self.room, "seq": self.seq, "item": self.item, "kind": self.kind, "op": self.op,
            "body": self.body, "actor": self.actor, "opId": self.op_id, "at": self.at,
            "born": self.born, "terms": self.terms, "current": self.current,
        })
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// How many entries, counted from the first, are durable now.
    pub committed: usize,
    /// Why the rest is not; `None` when everything is.
    pub stop: Option<Stop>,
}

/// Why a batch stopped. The entries after `committed` were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Another writer holds the slot, or the slot before it is empty: read on from the head.
    SlotTaken,
    /// One of the operations is in the journal already: look them up.
    OperationKnown,
}

/// Entries ascending by seq (or in the asked direction), cut at a number of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Whether entries beyond the last one remain.
    pub more: bool,
}

/// Where the rooms that were asked for stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    pub epoch: Epoch,
    pub rooms: HashMap<RoomId, RoomHead>,
}

/// Where one room stands. A room without entries has both at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomHead {
    /// The newest seq.
    pub head: Seq,
    /// Tombstones at or below this may be gone: a reader standing below it needs the full state.
    pub floor: Seq,
}

/// Selects living items of one kind in the order they were born.
#[derive(Clone, Debug)]
pub struct FindQuery {
    pub kind: Kind,
    /// Only those whose newest entry has it.
    pub term: Option<Term>,
    pub direction: Direction,
    /// Of each room.
    pub limit_items: usize,
}

/// A room to look into: all of it, or only items born strictly beyond a seq, in the direction of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindRoom {
    pub room: RoomId,
    pub beyond: Option<Seq>,
}

/// How far to clean up; see [`Journal::trim`].
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    /// Superseded entries written before this are emptied. At least 24 h ago.
    pub superseded_before: DateTime<Utc>,
    /// Tombstones written before this are emptied, after the floor is raised above them.
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
    /// Nothing was written; the store cannot be reached or refuses.
    #[error("the journal is unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// Nothing was written: the gate was shut before the statement was sent.
    #[error("this instance may not write")]
    Fenced,
    /// What is stored cannot be read back, or a setting is weaker than the promises need: trying again soon does not help.
    #[error("the journal is unsound: {0}")]
    Unsound(String),
    /// What is stored is not what was written: the disk, or a hand, has changed it.
    #[error("entry {seq} of room {room} is corrupt: {problem}")]
    Corrupt {
        room: RoomId,
        seq: Seq,
        problem: String,
    },
}

impl JournalError {
    /// Whether the same question asked again soon is answered alike: an operator has to mend what is stored.
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Unsound(_) | Self::Corrupt { .. })
    }
}

pub type Result<T, E = JournalError> = std::result::Result<T, E>;

/// The journal of every room. Two implementations: `MongoDB`, and SQL (`PostgreSQL` and `SQLite`).
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends entries of one room whose seqs are head+1, head+2, …: the entry before the first must
    /// exist (unless it is seq 1). Every entry is inserted current, and older entries of the same
    /// items are cleared by exactly `room, item, current, seq < mine` where mine sets the item's state.
    /// (SQL: what a later entry of the batch supersedes is inserted not current, and what is refused
    /// clears nothing.)
    ///
    /// The gate is asked after each wait, right before what makes the entries durable is sent: shut,
    /// nothing is written and the answer is [`JournalError::Fenced`].
    async fn append(&self, room: RoomId, batch: &[Entry], gate: &Arc<dyn Gate>)
    -> Result<Appended>;

    /// The epoch, and the head and floor of each room asked for; one query for all.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads>;

    /// Every entry after a seq, ascending, emptied ones included (as deletions with a null body and
    /// no op id). At least one entry if there is any, then until `limit_bytes` of bodies; none is left out.
    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page>;

    /// The newest entry of each item changed after a seq, tombstones included, ascending; bounded
    /// as `log` is. The last seq of a page is a position safe to resume from.
    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page>;

    /// The newest entry of each of these items, tombstones included; items never seen are left out.
    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>>;

    /// The entries these operations made; operations never seen are left out.
    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>>;

    /// Living items by `born`: a page for each of at most [`FIND_ROOMS_MAX`] rooms, in their order, which has at least
    /// one item if there is any, then until the room's share of [`FIND_BYTES_MAX`]. An item has the terms of its newest
    /// entry, whatever an older one had; tombstones are grouped in before they are filtered out.
    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>>;

    /// The same in one room.
    async fn find_in(&self, room: FindRoom, query: FindQuery) -> Result<Page> {
        let pages = self.find(&[room], query).await?;
        let only = pages.into_iter().next();
        only.ok_or_else(|| JournalError::Unavailable(anyhow!("a room was not looked into")))
    }

    /// Up to so many rooms that have entries, by id, beyond one.
    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>>;

    /// Raises floors, then empties (body, op id, current) what is older than the bounds. Rows keep
    /// their (room, seq) for ever, so that no slot is given twice. Answers how many were emptied.
    async fn trim(&self, bounds: Trim) -> Result<u64>;

    /// Starts another epoch if the present one is `known`; answers the epoch that stands afterwards.
    async fn change_epoch(&self, known: Epoch) -> Result<Epoch>;

    /// Reads back that the store is as durable as promised (unique indexes, `synchronous`,
    /// `synchronous_commit`, write and read concern) and refuses weaker settings.
    async fn verify(&self) -> Result<()>;
}

impl FindQuery {
    /// Everything of a kind in a room.
    pub const fn all(kind: Kind, direction: Direction, limit_items: usize) -> Self {
        Self {
            kind,
            term: None,
            direction,
            limit_items,
        }
    }
}

/// How many bytes each of so many rooms may answer with.
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

/// A batch that is not one run of entries of one room would make the hole it must never make.
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

/// Slots are given without holes: an entry that is missing between others was lost.
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

/// A number that no journal had before: 62 random bits, never 0.
fn new_epoch() -> Epoch {
    Epoch(rand::random_range(1..1 << 62))
}
