//! The relay carries outbox rows into the journal: for each room strictly in the order of their ids, one relay at a
//! time.

use super::{Actor, App, Error, Result, operations::request_hash};
use crate::{
    live::{Change, LiveError, Write},
    store::{Claim, OutboxEvent, OutboxRow, StoreError, journal::Terms},
};
use futures::StreamExt;
use parking_lot::Mutex;
use roost_schema::{OpId, RoomId};
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a use case waits for its events to reach the journal before it answers `outcome_unknown`.
const RELAY_WAIT_MAX: Duration = Duration::from_secs(5);
/// How much longer it waits for each event of its own.
const EVENT_WAIT_MAX: Duration = Duration::from_millis(100);
/// How long to wait before claiming a room again that another instance has claimed.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);
/// How long to wait before trying again after a store refused.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How often to look for rows that an earlier process left.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How many rooms the sweep relays at once. Use cases that wait need the other connections.
const SWEEP_ROOMS_AT_ONCE: usize = 4;

/// How long the sweep leaves a room alone whose rows no retry can relay.
const HOPELESS_PAUSE: Duration = Duration::from_secs(5);

/// Why a room was not relayed to its end.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("it took too long")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl RelayError {
    /// Whether no retry can help: a row or the room's journal cannot be read until an operator repairs it.
    const fn is_hopeless(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Broken(_))
                | Self::Live(LiveError::Unsound | LiveError::Corrupt)
        )
    }
}

impl App {
    /// Relays the waiting events of a room, each in a commit of its own, and counts a write. A use case calls this
    /// after its commit and before it answers. The sweep relays what this could not. `events`: how many the use case
    /// made.
    ///
    /// Errors: only `outcome_unknown`, because the change itself is committed already.
    pub(super) async fn acknowledge(
        &self,
        actor: &Actor,
        room: RoomId,
        events: usize,
    ) -> Result<()> {
        self.relay_room(room, events).await?;
        actor.api.count_write();
        Ok(())
    }

    /// The same without counting a write: for events that follow from another change.
    pub(super) async fn relay_room(&self, room: RoomId, events: usize) -> Result<()> {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let patience = RELAY_WAIT_MAX + EVENT_WAIT_MAX.saturating_mul(events);
        let relayed = self.relay_within(patience, room).await;
        relayed.map_err(|failure| {
            let failure = anyhow::Error::new(failure);
            Error::OutcomeUnknown(failure.context(format!("room {room} was not relayed in time")))
        })
    }

    async fn relay_within(&self, patience: Duration, room: RoomId) -> Result<(), RelayError> {
        let deadline = Instant::now() + patience;
        loop {
            let failure = match timeout_at(deadline, self.relay_until_empty(room)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure,
                Err(elapsed) => elapsed.into(),
            };
            // A store that fails now may succeed in a moment.
            if failure.is_hopeless() || Instant::now() + RETRY_PAUSE >= deadline {
                return Err(failure);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Relays the rows that use cases left, of this process or an earlier one: at once, then every second, until
    /// cancelled.
    pub async fn run_relay(&self, cancel: CancellationToken) {
        let mut ticks = interval(SWEEP_EVERY);
        let mut put_off = HashMap::new();
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let swept = cancel.run_until_cancelled(self.relay_all(&mut put_off));
            if let Some(Err(error)) = swept.await {
                tracing::warn!(?error, "the outbox cannot be read, trying again");
            }
        }
    }

    /// `put_off`: rooms that no retry can relay, and until when they are skipped.
    async fn relay_all(&self, put_off: &mut HashMap<RoomId, Instant>) -> Result<(), StoreError> {
        put_off.retain(|_, until| *until > Instant::now());
        let mut rooms = self.store.outbox.rooms().await?;
        rooms.retain(|room| !put_off.contains_key(room));
        let put_off = Mutex::new(put_off);
        futures::stream::iter(rooms)
            .for_each_concurrent(SWEEP_ROOMS_AT_ONCE, async |room| {
                let Err(error) = self.relay_within(RELAY_WAIT_MAX, room).await else {
                    return;
                };
                if error.is_hopeless() {
                    tracing::error!(room.id = %room, ?error, "outbox cannot be relayed");
                    let until = Instant::now() + HOPELESS_PAUSE;
                    let mut put_off = put_off.lock();
                    put_off.insert(room, until);
                } else {
                    tracing::warn!(room.id = %room, ?error, "outbox not relayed, trying again");
                }
            })
            .await;
        Ok(())
    }

    async fn relay_until_empty(&self, room: RoomId) -> Result<(), RelayError> {
        loop {
            if let Some(claim) = self.store.outbox.claim(room).await? {
                return self.relay_claimed(room, claim).await;
            }
            if self.store.outbox.is_empty(room).await? {
                return Ok(());
            }
            sleep(CLAIM_PAUSE).await;
        }
    }

    /// Relays a claimed room. The rows that were written are deleted even when it ends early; the others keep their
    /// order.
    async fn relay_claimed(&self, room: RoomId, claim: Claim) -> Result<(), RelayError> {
        loop {
            let rows = claim.oldest().await?;
            if rows.is_empty() {
                return Ok(claim.finish().await?);
            }
            let (written, outcome) = self.write_rows(room, &rows).await;
            if let Some(last) = written {
                claim.delete_through(last).await?;
            }
            if let Err(error) = outcome {
                claim.finish().await?;
                return Err(error.into());
            }
        }
    }

    /// Writes rows one after the other; returns the id of the last one that is in the journal.
    async fn write_rows(
        &self,
        room: RoomId,
        rows: &[OutboxRow],
    ) -> (Option<i64>, Result<(), LiveError>) {
        let mut written = None;
        for row in rows {
            // A row that was written before counts as a retry, and returns its first entry.
            if let Err(error) = self.live.room(room).write(entry_of(row)).await {
                return (written, Err(error));
            }
            written = Some(row.id);
        }
        (written, Ok(()))
    }
}

/// The write of a row. Its judge always agrees: the store decided under the lock of the room's row.
fn entry_of(row: &OutboxRow) -> Write {
    let OutboxEvent {
        item,
        kind,
        op,
        body,
        actor,
        ..
    } = row.event.clone();
    let hash = request_hash("outbox", &(item, &kind, &op, &body));
    Write {
        actor,
        op_id: Some(OpId::reserved(format_args!("outbox.{}", row.id))),
        request_hash: hash,
        // Outbox rows have one route only, so both hashes are the same.
        asked_hash: hash,
        item,
        is_new: false,
        bytes: body.as_str().len(),
        judge: Box::new(move |_| {
            Ok(Change {
                item,
                kind: kind.clone(),
                op: op.clone(),
                body: body.clone(),
                terms: Terms::default(),
            })
        }),
    }
}
