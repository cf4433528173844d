//! The one writer of `SQLite`: a task that commits waiting batches in groups, so that many rooms share one fsync.

use super::append;
use crate::store::{
    StoreError,
    journal::{Appended, Entry, Gate, JournalError, Result, STATEMENT_MAX, gate},
    sql::{self, Sql},
};
use anyhow::anyhow;
use futures::FutureExt;
use roost_schema::RoomId;
use sea_orm::{DatabaseTransaction, DbErr, TransactionTrait};
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How many batches may wait in the writer's queue; the callers of further ones wait until it has space.
const QUEUE_BATCHES: usize = 256;
/// The most batches that are committed together.
const GROUP_BATCHES: usize = 64;
/// How long a caller waits for the answer, so that a hanging disk keeps no caller waiting for ever.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

pub(super) struct SqliteWriter {
    queue: mpsc::Sender<Job>,
}

struct Job {
    room: RoomId,
    batch: Vec<Entry>,
    gate: Arc<dyn Gate>,
    /// Set by the writer when it begins to write the batch, or by a caller that gives the batch up, whichever is first.
    is_taken: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Appended>>,
}

impl SqliteWriter {
    /// Starts the task. It ends when `cancel` fires or the writer is dropped, after it has finished all waiting
    /// batches.
    pub(super) fn spawn(sql: Sql, tasks: &TaskTracker, cancel: CancellationToken) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_BATCHES);
        tasks.spawn(run(sql, jobs, cancel));
        Self { queue }
    }

    /// Appends a batch in the next group.
    pub(super) async fn append(
        &self,
        room: RoomId,
        batch: &[Entry],
        gate: &Arc<dyn Gate>,
    ) -> Result<Appended> {
        let deadline = Instant::now() + ANSWER_DEADLINE;
        let (answer, answered) = oneshot::channel();
        let is_taken = Arc::new(AtomicBool::new(false));
        let job = Job {
            room,
            batch: batch.to_vec(),
            gate: Arc::clone(gate),
            is_taken: Arc::clone(&is_taken),
            answer,
        };
        match timeout_at(deadline, self.queue.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unavailable("the journal's writer has ended")),
            Err(_) => return Err(unavailable("the journal's writer has too much to write")),
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            // The caller took the batch back before the writer began it.
            Err(_) if !is_taken.swap(true, Ordering::AcqRel) => {
                Err(unavailable("the journal's writer did not come to it"))
            }
            Ok(Err(_)) | Err(_) => {
                let error = anyhow!("the journal's writer did not say what became of it");
                Err(JournalError::OutcomeUnknown(error))
            }
        }
    }
}

/// Writes until it is cancelled, and goes on after a panic: one bad batch must not end the writes of all rooms.
async fn run(sql: Sql, mut jobs: mpsc::Receiver<Job>, cancel: CancellationToken) {
    while AssertUnwindSafe(serve(&sql, &mut jobs, &cancel))
        .catch_unwind()
        .await
        .is_err()
    {
        // The callers of the present group get an unknown outcome, because their channels close.
        metrics::counter!("roost_panics_total", "task" => "journal_writer").increment(1);
        tracing::error!("the journal's writer panicked; it goes on with what waits");
    }
}

async fn serve(sql: &Sql, jobs: &mut mpsc::Receiver<Job>, cancel: &CancellationToken) {
    let mut group = Vec::with_capacity(GROUP_BATCHES);
    loop {
        let received = tokio::select! {
            received = jobs.recv_many(&mut group, GROUP_BATCHES) => received,
            () = cancel.cancelled(), if !jobs.is_closed() => {
                jobs.close();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        group.retain(|job| !job.is_taken.swap(true, Ordering::AcqRel));
        let written = write_group(sql, &group).await;
        answer_group(group.drain(..), written);
    }
}

fn answer_group(group: impl Iterator<Item = Job>, written: Result<Vec<Result<Appended>>>) {
    // Sending fails when the caller has gone; then no answer is needed.
    match written {
        Ok(outcomes) => {
            for (job, outcome) in group.zip(outcomes) {
                let _ = job.answer.send(outcome);
            }
        }
        Err(error) => {
            for job in group {
                let _ = job.answer.send(Err(same(&error)));
            }
        }
    }
}

/// Writes one group in one transaction. An error applies to each batch of the group.
async fn write_group(sql: &Sql, group: &[Job]) -> Result<Vec<Result<Appended>>> {
    let nothing_written = |error: DbErr| JournalError::Unavailable(error.into());
    let transaction = sql.begin().await.map_err(nothing_written)?;
    let staged = stage_group(&transaction, group).await;
    let outcomes = staged.map_err(nothing_written)?;
    for (job, outcome) in group.iter().zip(&outcomes) {
        if outcome.is_ok() {
            // Staging takes time, so the gate is asked again. The transaction is not committed yet, so nothing was
            // written.
            gate::pass(&*job.gate, STATEMENT_MAX)?;
        }
    }
    match sql::commit(transaction).await {
        Ok(()) => Ok(outcomes),
        // The database refused the commit, so it rolls back the whole transaction.
        Err(StoreError::Contended(error)) => Err(JournalError::Unavailable(error)),
        Err(error) => Err(JournalError::OutcomeUnknown(error.into())),
    }
}

/// Stages every batch under its own savepoint, so that a batch that stops does not undo the others. Any other error may
/// have undone the whole transaction; then no batch is written.
async fn stage_group(
    transaction: &DatabaseTransaction,
    group: &[Job],
) -> Result<Vec<Result<Appended>>, DbErr> {
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        if let Err(fenced) = gate::pass(&*job.gate, STATEMENT_MAX) {
            outcomes.push(Err(fenced));
            continue;
        }
        let savepoint = transaction.begin().await?;
        let stop = append::write(&savepoint, job.room, &job.batch).await?;
        if stop.is_some() {
            savepoint.rollback().await?;
            outcomes.push(Ok(Appended { committed: 0, stop }));
        } else {
            savepoint.commit().await?;
            outcomes.push(Ok(Appended::all(&job.batch)));
        }
    }
    Ok(outcomes)
}

fn unavailable(why: &'static str) -> JournalError {
    JournalError::Unavailable(anyhow!(why))
}

/// A copy of an error for another caller.
fn same(error: &JournalError) -> JournalError {
    match error {
        JournalError::Fenced => JournalError::Fenced,
        JournalError::Unavailable(cause) => JournalError::Unavailable(anyhow!("{cause:#}")),
        JournalError::OutcomeUnknown(cause) => JournalError::OutcomeUnknown(anyhow!("{cause:#}")),
        JournalError::Unsound(why) => JournalError::Unsound(why.clone()),
        JournalError::Corrupt { room, seq, problem } => JournalError::Corrupt {
            room: *room,
            seq: *seq,
            problem: problem.clone(),
        },
    }
}
