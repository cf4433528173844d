//! The writer of a room: the one task that takes its queue of writes on this instance. It batches them, judges each by
//! the room's state at the head it would follow, appends them to the journal and delivers what became of them.
//!
//! The journal's unique (room, seq) is the sequencer: another writer may take the slot first. Then this one reads what
//! it missed, judges again on the new state, and tries again.

use super::{
    ActiveRoom, Instance, LiveError,
    answering::{answer_refused, answer_repeated, settle},
    deliveries::DeliverySource,
    durable::Assigned,
    judging::{BATCH_BYTES_MAX, Judged},
    replica::Replica,
    retry::pause,
    write::{PendingWrite, Written},
};
use crate::store::journal::{Appended, JournalError, Stop};
use chrono::{SubsecRound, Utc};
use futures::FutureExt;
use roost_schema::Seq;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

/// Writes that go into the journal at once.
const BATCH_WRITES_MAX: usize = 256;
/// How long a write waits for a journal that does not answer before it is refused.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often a write may lose the race for a slot before it is refused.
const RACES_MAX: u32 = 32;
/// When to come back after too many lost races.
const RETRY_RACES: Duration = Duration::from_millis(500);
/// How long a room stays active without holders and writes.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The same for a room without entries, which does not exist.
const EMPTY_MAX: Duration = Duration::from_secs(1);
/// How long a writer waits after it panicked: what made it panic may be there still.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

pub(in crate::live) struct Writer {
    room: Arc<ActiveRoom>,
    inbox: mpsc::Receiver<PendingWrite>,
    replica: Replica,
    /// How long the last commit took: what a winner waits so that the loser gets its turn.
    last_commit: Duration,
}

impl Writer {
    pub(super) fn new(room: Arc<ActiveRoom>, inbox: mpsc::Receiver<PendingWrite>) -> Self {
        Self {
            replica: Replica::new(Arc::clone(&room)),
            room,
            inbox,
            last_commit: Duration::ZERO,
        }
    }

    /// Serves the room until it is idle, or the instance stops and everything queued is answered. A room
    /// outlives a panic: its readers stay, what waits is written, and only the writes at hand get no answer.
    pub(in crate::live) async fn run(mut self, instance: Arc<Instance>) {
        while AssertUnwindSafe(self.serve(&instance))
            .catch_unwind()
            .await
            .is_err()
        {
            metrics::counter!("roost_panics_total", "task" => "mailbox").increment(1);
            tracing::error!(room.id = %self.room.id(), "a mailbox panicked; it begins anew");
            self.replica.begin_anew();
            instance
                .cancel
                .run_until_cancelled(sleep(PANIC_PAUSE))
                .await;
        }
    }

    async fn serve(&mut self, instance: &Instance) {
        // Only a write restarts the idle time. An entry of another instance does not: without a holder or a write,
        // nothing here needs the room.
        let mut idle_since = Instant::now();
        loop {
            self.replica.apply_remote();
            // A signal that came during a read or an append has no wake-up left: `receive_during` took it.
            self.replica.heed_hint();
            self.replica.try_catch_up().await;
            let idle_until = idle_since + self.idle_max();
            let is_stale = self.replica.is_stale();
            tokio::select! {
                biased;
                () = instance.cancel.cancelled() => break,
                // The idle time comes before the branches below, because `select!` is biased and those may be ready
                // each time.
                () = sleep_until(idle_until) => {
                    if instance.forget_idle(&self.room, &self.inbox) {
                        return;
                    }
                    idle_since = Instant::now();
                }
                () = self.replica.retry_is_due(), if is_stale => {}
                write = self.inbox.recv() => if let Some(write) = write {
                    self.replica.heed_hint();
                    let batch = self.gather(write);
                    self.commit(batch).await;
                    idle_since = Instant::now();
                },
                () = self.room.signals.wake() => self.replica.heed_hint(),
                () = self.replica.gap_is_due() => self.replica.give_up_gap(),
            }
        }
        self.inbox.close();
        while let Some(write) = self.inbox.recv().await {
            let batch = self.gather(write);
            self.commit(batch).await;
        }
        instance.forget(self.room.id());
    }

    /// A room without entries does not exist. Clients may ask for any number of such rooms, so each is forgotten soon.
    fn idle_max(&self) -> Duration {
        match self.replica.head() {
            // A damaged room stays longer. Its pause is forgotten with it, and each request would read the damage
            // again.
            Seq::ZERO if self.replica.damage().is_none() => EMPTY_MAX,
            _ => IDLE_MAX,
        }
    }

    fn gather(&mut self, first: PendingWrite) -> Vec<PendingWrite> {
        let mut bytes = first.write.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_WRITES_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.inbox.try_recv() else {
                break;
            };
            bytes += next.write.bytes;
            batch.push(next);
        }
        batch
    }

    /// Appends writes to the journal and answers every one of them.
    async fn commit(&mut self, waiting: Vec<PendingWrite>) {
        self.commit_all(waiting).await;
        self.replica.shrink_items();
    }

    async fn commit_all(&mut self, mut waiting: Vec<PendingWrite>) {
        let mut failures = 0;
        let mut races = 0;
        while !waiting.is_empty() {
            if self.replica.is_stale() && self.replica.damage().is_none() {
                pause(failures + races).await;
            }
            self.replica.apply_remote();
            if let Some(damage) = self.replica.damage() {
                return refuse_all(waiting, || damage.into());
            }
            let done = if self.room.instance.fence.is_shut() {
                Err(JournalError::Fenced)
            } else {
                self.try_commit(&mut waiting, races).await
            };
            match done {
                Ok(()) => {
                    races += u32::from(self.replica.is_stale());
                    if races > RACES_MAX {
                        let retry_after = RETRY_RACES;
                        return refuse_all(waiting, || LiveError::Overloaded { retry_after });
                    }
                }
                // The writes are refused, not kept for later: their authors may have been signed out by then. If they were
                // judged, the view has entries that were not written.
                Err(JournalError::Fenced) => {
                    self.replica.mark_stale(DeliverySource::Repair);
                    return refuse_all(waiting, || LiveError::Fenced);
                }
                Err(error) => {
                    failures += 1;
                    self.note_failure(&error, &mut waiting);
                }
            }
        }
    }

    /// Marks the view as stale, so that the next round reads the journal. Refuses the writes that have waited for too
    /// long.
    fn note_failure(&mut self, error: &JournalError, waiting: &mut Vec<PendingWrite>) {
        self.replica.mark_stale(DeliverySource::Repair);
        if error.is_lasting() {
            return self.replica.note_unread(error);
        }
        tracing::warn!(room.id = %self.room.id(), %error, "journal slow, retrying");
        let is_overdue = |pending: &mut PendingWrite| pending.queued_at.elapsed() > WRITE_WAIT_MAX;
        for pending in waiting.extract_if(.., is_overdue) {
            pending.reply(Err(LiveError::Unavailable));
        }
    }

    /// Runs one round: judges and appends. Writes that are answered leave `waiting`. An error means that nothing was
    /// written.
    async fn try_commit(
        &mut self,
        waiting: &mut Vec<PendingWrite>,
        races: u32,
    ) -> Result<(), JournalError> {
        self.replica.catch_up_if_stale().await?;
        self.read_items(waiting).await?;
        let at = Utc::now().trunc_subsecs(3);
        let Judged {
            assigned,
            refused,
            later,
        } = self.replica.judge(std::mem::take(waiting), at);
        // Writes that are not answered below wait for the next round, in their order.
        *waiting = later;
        let unanswered = match answer_refused(&self.replica, refused).await {
            Ok(unanswered) => unanswered,
            Err((writes, error)) => {
                put_back(waiting, writes, assigned);
                return Err(error);
            }
        };
        if !unanswered.is_empty() {
            put_back(waiting, unanswered, assigned);
            self.replica.mark_stale(DeliverySource::Race);
            return Ok(());
        }
        if assigned.is_empty() {
            return Ok(());
        }
        self.append(assigned, waiting, races).await
    }

    /// Reads the items of the waiting writes that the view does not hold. A write whose item cannot be read is answered
    /// with `Unsound` and leaves `waiting`; the others go on.
    async fn read_items(&mut self, waiting: &mut Vec<PendingWrite>) -> Result<(), JournalError> {
        let items: Vec<_> = waiting
            .iter()
            .filter(|pending| !pending.write.is_new)
            .map(|pending| pending.write.item)
            .collect();
        let unreadable = self.replica.read_items(&items).await?;
        let looks_at = |pending: &mut PendingWrite| unreadable.contains(&pending.write.item);
        for pending in waiting.extract_if(.., looks_at) {
            pending.reply(Err(LiveError::Unsound));
        }
        Ok(())
    }

    async fn append(
        &mut self,
        assigned: Assigned,
        waiting: &mut Vec<PendingWrite>,
        races: u32,
    ) -> Result<(), JournalError> {
        let started = Instant::now();
        let journal = Arc::clone(&self.room.instance.journal);
        let (id, gate) = (self.room.id(), self.room.instance.fence.gate());
        let append = journal.append(id, assigned.entries(), &gate);
        let appended = match self.replica.receive_during(append).await {
            Ok(appended) => appended,
            Err(JournalError::OutcomeUnknown(error)) => {
                tracing::warn!(room.id = %self.room.id(), %error, "outcome of a batch unknown");
                self.replica.mark_stale(DeliverySource::Repair);
                settle(&mut self.replica, assigned, waiting).await;
                return Ok(());
            }
            Err(error) => {
                waiting.splice(0..0, assigned.into_writes());
                return Err(error);
            }
        };
        self.last_commit = started.elapsed();
        let rest = self.acknowledge(assigned, &appended);
        waiting.splice(0..0, rest);
        match appended.stop {
            Some(stop) => {
                self.replica.lose_race();
                // The rival may be an earlier append of this instance, whose entries no other instance announces.
                if waiting.iter().any(PendingWrite::is_unsettled) {
                    self.replica.note_unanswered_append();
                }
                if stop == Stop::OperationKnown {
                    answer_repeated(&self.replica, waiting).await?;
                }
            }
            // This writer won a race. It leaves the next turn to the other one, which would starve otherwise.
            None if races > 0 || self.replica.has_rival() => sleep(self.last_commit).await,
            None => {}
        }
        Ok(())
    }

    /// Delivers, announces and answers what is durable now; gives back the writes that are not.
    fn acknowledge(&mut self, assigned: Assigned, appended: &Appended) -> Vec<PendingWrite> {
        let (committed, rest) = assigned.commit(appended);
        self.replica.commit(&committed.durable);
        let entries = committed.durable.into_entries();
        for (pending, entry) in committed.writes.into_iter().zip(entries) {
            let is_retry = false;
            pending.reply(Ok(Written { entry, is_retry }));
        }
        rest
    }
}

/// Returns writes to the queue's front, in the order in which they came.
fn put_back(waiting: &mut Vec<PendingWrite>, writes: Vec<PendingWrite>, assigned: Assigned) {
    waiting.extend(writes);
    waiting.extend(assigned.into_writes());
    waiting.sort_by_key(|pending| pending.queued_at);
}

fn refuse_all(waiting: Vec<PendingWrite>, error: impl Fn() -> LiveError) {
    for pending in waiting {
        pending.reply(Err(error()));
    }
}
