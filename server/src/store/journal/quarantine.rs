//! A journal that keeps corrupt rooms in quarantine: once an entry of a room is corrupt, this instance neither reads
//! nor writes the room until the entry holds again. All other rooms go on.
//!
//! A room in quarantine costs the store one read of one entry every few seconds, and only while the room is asked for.

use super::{
    Appended, Entry, FindQuery, FindRoom, Gate, Heads, Journal, JournalError, Page, Result, Trim,
};
use async_trait::async_trait;
use metrics::Gauge;
use parking_lot::Mutex;
use roost_schema::{Epoch, ItemId, OpId, RoomId, Seq, UserId};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a corrupt entry is not read again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Wraps any journal and keeps its corrupt rooms in quarantine.
pub struct QuarantiningJournal {
    journal: Arc<dyn Journal>,
    rooms: Mutex<HashMap<RoomId, CorruptEntry>>,
    corrupt_rooms: Gauge,
}

#[derive(Clone)]
struct CorruptEntry {
    seq: Seq,
    problem: String,
    look_again_at: Instant,
}

impl QuarantiningJournal {
    pub fn wrap(journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(Self {
            journal,
            rooms: Mutex::default(),
            corrupt_rooms: metrics::gauge!("roost_journal_corrupt_rooms"),
        })
    }

    /// Errors: `Corrupt` while the room is in quarantine.
    async fn check(&self, room: RoomId) -> Result<()> {
        let Some(corrupt) = self.rooms.lock().get(&room).cloned() else {
            return Ok(());
        };
        if Instant::now() < corrupt.look_again_at {
            return Err(corrupt.error(room));
        }
        self.look_again(room, corrupt).await
    }

    /// Reads only the corrupt entry.
    async fn look_again(&self, room: RoomId, corrupt: CorruptEntry) -> Result<()> {
        // Callers that ask during this read get the known error.
        self.admit(room, corrupt.clone());
        let before = Seq(corrupt.seq.0.saturating_sub(1));
        let page = self.journal.log(room, before, 0).await?;
        let is_read = page.entries.first().map(|entry| entry.seq) == Some(corrupt.seq);
        if !is_read && self.head(room).await? >= corrupt.seq {
            return Err(corrupt.error(room));
        }
        // The entry holds again, or the head is below it: then its seq was the corrupt field, or the room was restored.
        let mut rooms = self.rooms.lock();
        rooms.remove(&room);
        self.count(&rooms);
        tracing::info!(room.id = %room, entry.seq = %corrupt.seq,
            "a corrupt entry was mended; the room is served again");
        Ok(())
    }

    async fn head(&self, room: RoomId) -> Result<Seq> {
        let heads = self.journal.heads(&[room]).await?;
        Ok(heads.rooms.get(&room).copied().unwrap_or_default().head)
    }

    /// Puts a room into quarantine, or keeps it there.
    fn admit(&self, room: RoomId, corrupt: CorruptEntry) {
        let look_again_at = Instant::now() + LOOK_AGAIN_AFTER;
        let mut rooms = self.rooms.lock();
        let (seq, problem) = (corrupt.seq, corrupt.problem.clone());
        let corrupt = CorruptEntry {
            look_again_at,
            ..corrupt
        };
        if rooms.insert(room, corrupt).is_none() {
            tracing::error!(room.id = %room, entry.seq = %seq, problem,
                "an entry is corrupt: its room is neither read nor written until the entry is put back from a backup");
        }
        self.count(&rooms);
    }

    fn count(&self, rooms: &HashMap<RoomId, CorruptEntry>) {
        self.corrupt_rooms
            .set(f64::from(u32::try_from(rooms.len()).unwrap_or(u32::MAX)));
    }

    /// Passes a result on, and puts the room of a corrupt entry into quarantine.
    fn note<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(JournalError::Corrupt { room, seq, problem }) = &answer {
            let corrupt = CorruptEntry {
                seq: *seq,
                problem: problem.clone(),
                look_again_at: Instant::now(),
            };
            self.admit(*room, corrupt);
        }
        answer
    }
}

impl CorruptEntry {
    fn error(&self, room: RoomId) -> JournalError {
        JournalError::Corrupt {
            room,
            seq: self.seq,
            problem: self.problem.clone(),
        }
    }
}

#[async_trait]
impl Journal for QuarantiningJournal {
    async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        self.check(room).await?;
        self.note(self.journal.append(room, batch, gate).await)
    }

    /// Heads contain no entries, so rooms in quarantine are answered, too.
    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads> {
        self.journal.heads(rooms).await
    }

    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page> {
        self.check(room).await?;
        self.note(self.journal.log(room, after, limit_bytes).await)
    }

    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page> {
        self.check(room).await?;
        self.note(self.journal.changes(room, since, limit_bytes).await)
    }

    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>> {
        self.check(room).await?;
        self.note(self.journal.items(room, items).await)
    }

    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>> {
        self.check(room).await?;
        self.note(self.journal.operations(room, operations).await)
    }

    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>> {
        for asked in rooms {
            self.check(asked.room).await?;
        }
        self.note(self.journal.find(rooms, query).await)
    }

    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>> {
        self.journal.rooms(beyond, limit_rooms).await
    }

    async fn trim(&self, bounds: Trim) -> Result<u64> {
        self.journal.trim(bounds).await
    }

    async fn change_epoch(&self, known: Epoch) -> Result<Epoch> {
        self.journal.change_epoch(known).await
    }

    async fn verify(&self) -> Result<()> {
        self.journal.verify().await
    }
}
