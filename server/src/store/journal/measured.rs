//! A journal with metrics: how long each operation takes, how often it fails, how large batches are.

use super::{
    Appended, Entry, FindQuery, FindRoom, Gate, Heads, Journal, JournalError, OpId, Page, Result,
    RoomId, Seq, Trim, UserId,
};
use async_trait::async_trait;
use metrics::{Counter, Histogram};
use roost_schema::{Epoch, ItemId};
use std::{sync::Arc, time::Instant};

/// The calls of a journal that have metrics of their own.
#[derive(Clone, Copy, Debug)]
enum JournalCall {
    Append,
    Heads,
    Log,
    Changes,
    Items,
    Operations,
    Find,
    Trim,
    ChangeEpoch,
}

impl JournalCall {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Append, "append"),
        (Self::Heads, "heads"),
        (Self::Log, "log"),
        (Self::Changes, "changes"),
        (Self::Items, "items"),
        (Self::Operations, "operations"),
        (Self::Find, "find"),
        (Self::Trim, "trim"),
        (Self::ChangeEpoch, "change_epoch"),
    ];
}

/// Wraps any journal with metrics and keeps its promises unchanged.
pub struct MeasuredJournal {
    journal: Arc<dyn Journal>,
    batch_entries: Histogram,
    meters: [Meter; JournalCall::ALL.len()],
}

struct Meter {
    duration: Histogram,
    failures: Counter,
    /// Failures because stored data cannot be read; an operator has to repair it.
    unsound: Counter,
}

impl MeasuredJournal {
    /// `store` names the kind of store in the metrics.
    pub fn wrap(journal: Arc<dyn Journal>, store: &'static str) -> Arc<dyn Journal> {
        let meter = |(_, operation): (JournalCall, &'static str)| Meter {
            duration: metrics::histogram!("roost_journal_operation_duration_seconds",
                "store" => store, "operation" => operation),
            failures: metrics::counter!("roost_journal_failures_total",
                "store" => store, "operation" => operation),
            unsound: metrics::counter!("roost_journal_unsound_total",
                "store" => store, "operation" => operation),
        };
        Arc::new(Self {
            journal,
            batch_entries: metrics::histogram!("roost_journal_batch_entries", "store" => store),
            meters: JournalCall::ALL.map(meter),
        })
    }

    async fn measure<T>(
        &self,
        operation: JournalCall,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let started = Instant::now();
        let done = work.await;
        if let Some(meter) = self.meters.get(operation as usize) {
            meter.duration.record(started.elapsed().as_secs_f64());
            if let Err(error) = &done {
                meter.failures.increment(1);
                let is_unsound = error.is_lasting();
                meter.unsound.increment(u64::from(is_unsound));
            }
        }
        done
    }
}

#[async_trait]
impl Journal for MeasuredJournal {
    async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        self.batch_entries
            .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        let work = self.journal.append(room, batch, gate);
        self.measure(JournalCall::Append, work).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> Result<Heads> {
        let work = self.journal.heads(rooms);
        self.measure(JournalCall::Heads, work).await
    }

    async fn log(&self, room: RoomId, after: Seq, limit_bytes: usize) -> Result<Page> {
        let work = self.journal.log(room, after, limit_bytes);
        self.measure(JournalCall::Log, work).await
    }

    async fn changes(&self, room: RoomId, since: Seq, limit_bytes: usize) -> Result<Page> {
        let work = self.journal.changes(room, since, limit_bytes);
        self.measure(JournalCall::Changes, work).await
    }

    async fn items(&self, room: RoomId, items: &[ItemId]) -> Result<Vec<Entry>> {
        let work = self.journal.items(room, items);
        self.measure(JournalCall::Items, work).await
    }

    async fn operations(&self, room: RoomId, operations: &[(UserId, OpId)]) -> Result<Vec<Entry>> {
        let work = self.journal.operations(room, operations);
        self.measure(JournalCall::Operations, work).await
    }

    async fn find(&self, rooms: &[FindRoom], query: FindQuery) -> Result<Vec<Page>> {
        let work = self.journal.find(rooms, query);
        self.measure(JournalCall::Find, work).await
    }

    /// Not measured: only operators' commands list rooms.
    async fn rooms(&self, beyond: Option<RoomId>, limit_rooms: usize) -> Result<Vec<RoomId>> {
        self.journal.rooms(beyond, limit_rooms).await
    }

    async fn trim(&self, bounds: Trim) -> Result<u64> {
        let work = self.journal.trim(bounds);
        self.measure(JournalCall::Trim, work).await
    }

    async fn change_epoch(&self, known: Epoch) -> Result<Epoch, JournalError> {
        let work = self.journal.change_epoch(known);
        self.measure(JournalCall::ChangeEpoch, work).await
    }

    /// Not measured: a server verifies once, at boot.
    async fn verify(&self) -> Result<()> {
        self.journal.verify().await
    }
}
