//! The seal of an entry, by which a read notices a changed bit: an entry whose fields, body or place differ from what
//! was written is refused and never delivered.
//!
//! A seal has two hashes, because trimming empties an entry and keeps its row. The body hash covers the emptied fields.
//! The row hash covers the fields that stay, and the body hash. The salt is emptied with the body; without the salt the
//! body hash does not reveal even a short deleted text. Neither hash is a signature: they protect against a failing
//! disk, not against an owner of the database.

use super::{Entry, RequestHash, Terms, encoding::signed};
use roost_schema::{OpId, RoomId};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Bytes of each hash, the first of `BLAKE3`'s 32: among 2⁶⁴ rows about two share a hash by chance.
pub(super) const HASH_BYTES: usize = 16;

/// Replaces the request hash of an emptied entry, because a request hash could reveal the body.
pub(super) const NO_REQUEST: RequestHash = RequestHash([0; 32]);

/// How often an entry without a seal was read since the program started.
static UNSEALED_READ: AtomicU64 = AtomicU64::new(0);

/// The columns of a seal.
pub(super) struct Seal {
    pub(super) salt: [u8; HASH_BYTES],
    pub(super) body_hash: [u8; HASH_BYTES],
    pub(super) row_hash: [u8; HASH_BYTES],
}

/// A seal as it was read. An earlier release wrote none.
pub(super) struct KeptSeal {
    pub(super) salt: Option<Vec<u8>>,
    pub(super) body_hash: Option<Vec<u8>>,
    pub(super) row_hash: Option<Vec<u8>>,
}

/// The stored fields that stay when an entry is emptied.
pub(super) struct Row<'a> {
    pub(super) room: RoomId,
    pub(super) seq: i64,
    pub(super) item: Uuid,
    pub(super) kind: &'a str,
    pub(super) op: &'a str,
    pub(super) actor: Uuid,
    pub(super) at_ms: i64,
    pub(super) born: i64,
}

/// The stored fields that are removed when an entry is emptied.
pub(super) struct Content<'a> {
    pub(super) body: &'a str,
    pub(super) op_id: Option<&'a str>,
    pub(super) request_hash: &'a [u8],
    pub(super) asked_hash: Option<&'a [u8]>,
    pub(super) terms: &'a Terms,
}

impl Seal {
    /// Seals an entry that is about to be written, with a new salt.
    pub(super) fn of(entry: &Entry) -> Self {
        Self::with_salt(entry, rand::random())
    }

    fn with_salt(entry: &Entry, salt: [u8; HASH_BYTES]) -> Self {
        let body_hash = Content::of(entry).hash(&salt);
        Self {
            salt,
            body_hash,
            row_hash: Row::of(entry).hash(&body_hash),
        }
    }
}

impl KeptSeal {
    /// Whether the entry was written without a seal.
    pub(super) const fn is_absent(&self) -> bool {
        self.salt.is_none() && self.body_hash.is_none() && self.row_hash.is_none()
    }

    /// Names the part that does not hold, if any. An emptied entry has no content. An entry without a seal passes, and
    /// is counted.
    pub(super) fn check(&self, row: &Row, content: Option<&Content>) -> Result<(), &'static str> {
        if self.is_absent() {
            UNSEALED_READ.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("roost_journal_unsealed_entries_total").increment(1);
            return Ok(());
        }
        let (Some(body_hash), Some(row_hash)) = (&self.body_hash, &self.row_hash) else {
            return Err("a part of its seal is gone");
        };
        if *row_hash != row.hash(body_hash) {
            return Err("it is not the row that was written");
        }
        match (content, &self.salt) {
            (None, _) => Ok(()),
            (Some(content), Some(salt)) if *body_hash == content.hash(salt) => Ok(()),
            (Some(_), _) => Err("its content is not what was written"),
        }
    }
}

impl<'a> Row<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            room: entry.room,
            seq: signed(entry.seq.0),
            item: entry.item.as_uuid(),
            kind: entry.kind.as_str(),
            op: entry.op.as_str(),
            actor: entry.actor.as_uuid(),
            at_ms: entry.at.timestamp_millis(),
            born: signed(entry.born.0),
        }
    }

    fn hash(&self, body_hash: &[u8]) -> [u8; HASH_BYTES] {
        let mut hash = Fields::default();
        hash.add(self.room.as_uuid().as_bytes());
        hash.add(&self.seq.to_be_bytes());
        hash.add(self.item.as_bytes());
        hash.add(self.kind.as_bytes());
        hash.add(self.op.as_bytes());
        hash.add(self.actor.as_bytes());
        hash.add(&self.at_ms.to_be_bytes());
        hash.add(&self.born.to_be_bytes());
        hash.add(body_hash);
        hash.finish()
    }
}

impl<'a> Content<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            body: entry.body.as_str(),
            op_id: entry.op_id.as_ref().map(OpId::as_str),
            request_hash: &entry.request_hash.0,
            asked_hash: entry.asked_hash.as_ref().map(|hash| hash.0.as_slice()),
            terms: &entry.terms,
        }
    }

    fn hash(&self, salt: &[u8]) -> [u8; HASH_BYTES] {
        let mut hash = Fields::default();
        hash.add(salt);
        hash.add(self.body.as_bytes());
        hash.add_optional(self.op_id.map(str::as_bytes));
        hash.add(self.request_hash);
        hash.add_optional(self.asked_hash);
        for term in self.terms.iter() {
            hash.add(term.as_str().as_bytes());
        }
        hash.finish()
    }
}

/// How often an entry without a seal was read since the program started.
pub(super) fn unsealed_read() -> u64 {
    UNSEALED_READ.load(Ordering::Relaxed)
}

/// A hash of fields, each preceded by its length, so that no two lists of fields give the same bytes.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn add(&mut self, field: &[u8]) {
        self.0.extend((field.len() as u64).to_be_bytes());
        self.0.extend(field);
    }

    /// An absent field and an empty one differ.
    fn add_optional(&mut self, field: Option<&[u8]>) {
        self.0.push(u8::from(field.is_some()));
        self.add(field.unwrap_or_default());
    }

    fn finish(&self) -> [u8; HASH_BYTES] {
        let mut first = [0; HASH_BYTES];
        first.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..HASH_BYTES]);
        first
    }
}

#[cfg(test)]
mod tests;
