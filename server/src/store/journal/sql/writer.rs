//! `SQLite`'s one writer: a task that commits what waits in groups, so that many rooms share one
//! fsync.

use super::append;
use crate::store::{
    journal::{Appended, Entry, JournalError, Result},
    sql::Sql,
};
use anyhow::anyhow;
use roost_schema::RoomId;
use sea_orm::{DatabaseTransaction, DbErr, TransactionTrait};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Batches that may wait for the writer; further ones wait to be handed over.
const QUEUE_BATCHES: usize = 256;
/// Batches committed together at most.
const GROUP_BATCHES: usize = 64;

pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
}

struct Job {
    room: RoomId,
    batch: Vec<Entry>,
    answer: oneshot::Sender<Result<Appended>>,
}

impl Writer {
    /// Starts the task. It ends when `cancel` fires or the writer is dropped, after it has
    /// finished everything it was given.
    pub(super) fn spawn(sql: Sql, tasks: &TaskTracker, cancel: CancellationToken) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_BATCHES);
        tasks.spawn(run(sql, jobs, cancel));
        Self { queue }
    }

    /// Appends a batch in the next group.
    pub(super) async fn append(&self, room: RoomId, batch: &[Entry]) -> Result<Appended> {
        let (answer, answered) = oneshot::channel();
        let batch = batch.to_vec();
        let job = Job {
            room,
            batch,
            answer,
        };
        if self.queue.send(job).await.is_err() {
            let error = anyhow!("the journal's writer has ended");
            return Err(JournalError::Unavailable(error));
        }
        answered.await.unwrap_or_else(|_| {
            let error = anyhow!("the journal's writer ended before it answered");
            Err(JournalError::OutcomeUnknown(error))
        })
    }
}

async fn run(sql: Sql, mut jobs: mpsc::Receiver<Job>, cancel: CancellationToken) {
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
        write_group(&sql, &mut group).await;
    }
}

/// Writes one group in one transaction and answers each of its jobs.
async fn write_group(sql: &Sql, group: &mut Vec<Job>) {
    let written = match stage_group(sql, group).await {
        Ok((transaction, outcomes)) => match transaction.commit().await {
            Ok(()) => Ok(outcomes),
            Err(error) => Err((true, error)),
        },
        Err(error) => Err((false, error)),
    };
    // A job whose asker has gone away needs no answer.
    match written {
        Ok(outcomes) => {
            for (job, outcome) in group.drain(..).zip(outcomes) {
                let _ = job.answer.send(Ok(outcome));
            }
        }
        Err((is_unknown, error)) => {
            for job in group.drain(..) {
                let cause = error.clone().into();
                let _ = job.answer.send(Err(if is_unknown {
                    JournalError::OutcomeUnknown(cause)
                } else {
                    JournalError::Unavailable(cause)
                }));
            }
        }
    }
}

/// Stages every job under a savepoint of its own, so that one that stops takes nothing with it.
/// An error of any other sort may have undone the whole transaction: then nobody's batch is written.
async fn stage_group(
    sql: &Sql,
    group: &[Job],
) -> Result<(DatabaseTransaction, Vec<Appended>), DbErr> {
    let transaction = sql.begin().await?;
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        let savepoint = transaction.begin().await?;
        let stop = append::write(&savepoint, job.room, &job.batch).await?;
        if stop.is_some() {
            savepoint.rollback().await?;
            outcomes.push(Appended { committed: 0, stop });
        } else {
            savepoint.commit().await?;
            outcomes.push(Appended::all(&job.batch));
        }
    }
    Ok((transaction, outcomes))
}
