//! The relay carries outbox rows into the journal: for each room strictly in the order of their ids, one relay at a
//! time.

use super::{Actor, App, Error, Result, operations::request_hash};
use crate::{
    live::{Change, LiveError, Refusal, RoomView, Write},
    store::{Claim, OutboxEvent, OutboxRow, StoreError, journal::Terms},
};
use futures::StreamExt;
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use roost_schema::{Body, ErrorCode, ItemId, Kind, Op, OpId, RoomId};
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, interval, sleep, timeout, timeout_at};
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

/// How often a claim is used at least: the database ends one that is idle for ten times as long.
const CLAIM_USED_EVERY: Duration = Duration::from_secs(1);

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
    /// The event gives rights, and stays the first of its room.
    #[error("the journal refuses the event: {0}")]
    Refused(Refusal),
}

impl RelayError {
    /// Whether no retry can help: a row or the room's journal cannot be read, or do not fit, until an operator repairs
    /// them.
    const fn is_hopeless(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Store(StoreError::Broken(_))
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

    /// `put_off`: rooms that no retry can relay, and until when they are skipped. The order is random, so that instances
    /// which read the same list meet seldom.
    async fn relay_all(&self, put_off: &mut HashMap<RoomId, Instant>) -> Result<(), StoreError> {
        put_off.retain(|_, until| *until > Instant::now());
        let mut rooms = self.store.outbox.rooms().await?;
        rooms.retain(|room| !put_off.contains_key(room));
        rooms.shuffle(&mut rand::rng());
        let put_off = Mutex::new(put_off);
        futures::stream::iter(rooms)
            .for_each_concurrent(SWEEP_ROOMS_AT_ONCE, async |room| {
                let Err(error) = self.relay_unclaimed(room).await else {
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

    /// Relays a room once, unless another instance relays or changes it: then the next sweep looks again.
    async fn relay_unclaimed(&self, room: RoomId) -> Result<(), RelayError> {
        let relaying = async {
            match self.store.outbox.claim(room).await? {
                Some(claim) => self.relay_claimed(claim).await,
                None => Ok(()),
            }
        };
        timeout(RELAY_WAIT_MAX, relaying).await?
    }

    async fn relay_until_empty(&self, room: RoomId) -> Result<(), RelayError> {
        loop {
            if let Some(claim) = self.store.outbox.claim(room).await? {
                return self.relay_claimed(claim).await;
            }
            if self.store.outbox.is_empty(room).await? {
                return Ok(());
            }
            sleep(CLAIM_PAUSE).await;
        }
    }

    /// Relays a claimed room. The rows that were relayed are deleted even when it ends early; the others keep their
    /// order.
    async fn relay_claimed(&self, claim: Claim) -> Result<(), RelayError> {
        loop {
            let rows = claim.oldest().await?;
            if rows.is_empty() {
                return Ok(claim.finish().await?);
            }
            if let Err(error) = self.relay_rows(&claim, &rows).await {
                claim.finish().await?;
                return Err(error);
            }
        }
    }

    /// Relays rows one after the other, and deletes them: at the end, and now and then before that, because the database
    /// ends a claim that is idle for long.
    async fn relay_rows(&self, claim: &Claim, rows: &[OutboxRow]) -> Result<(), RelayError> {
        let mut relayed = None;
        let mut used_at = Instant::now();
        for row in rows {
            let outcome = self.relay_row(claim, row).await;
            if outcome.is_ok() {
                relayed = Some(row.id);
            }
            if (outcome.is_err() || used_at.elapsed() > CLAIM_USED_EVERY)
                && let Some(last) = relayed.take()
            {
                claim.delete_through(last).await?;
                used_at = Instant::now();
            }
            outcome?;
        }
        match relayed {
            Some(last) => Ok(claim.delete_through(last).await?),
            None => Ok(()),
        }
    }

    /// Relays a row. One that was relayed before counts as a retry, and finds its entry.
    ///
    /// The journal refuses an event when it has another one under this id: then the database was restored from an older
    /// backup than the journal. An event that gives rights stays, and its room is closed, because its rights in the
    /// journal may be too many. Any other is set aside, so that those behind it go on.
    async fn relay_row(&self, claim: &Claim, row: &OutboxRow) -> Result<(), RelayError> {
        let refusal = match self.live.room(claim.room()).write(entry_of(row)).await {
            Err(LiveError::Refused(refusal)) => refusal,
            outcome => return Ok(outcome.map(drop)?),
        };
        let kind = row.event.kind.clone();
        metrics::counter!("roost_outbox_refused_total", "kind" => kind.as_str().to_owned())
            .increment(1);
        tracing::error!(room.id = %claim.room(), outbox.id = row.id, %kind, %refusal,
            "the journal refuses an event of the outbox");
        if !matches!(kind, Kind::Member | Kind::Room) {
            return Ok(claim.set_aside(row, refusal.sentence).await?);
        }
        match self.live.room(claim.room()).write(closing(row)).await {
            // Refused: the room is archived already, or is a person's own, where no other has rights.
            Ok(_) | Err(LiveError::Refused(_)) => Err(RelayError::Refused(refusal)),
            Err(error) => Err(error.into()),
        }
    }
}

/// The write of a row. Its judge always agrees: the store decided under the lock of the room's row.
fn entry_of(row: &OutboxRow) -> Write {
    let body = row.event.body.clone();
    let op_id = OpId::reserved(format_args!("outbox.{}", row.id));
    event_write(&row.event, op_id, move |_| Ok(body.clone()))
}

/// The write that archives the room of a row.
fn closing(row: &OutboxRow) -> Write {
    let event = OutboxEvent {
        item: ItemId::of_room(row.event.room),
        kind: Kind::Room,
        op: Op::Put,
        ..row.event.clone()
    };
    let op_id = OpId::reserved(format_args!("closed.{}", row.id));
    event_write(&event, op_id, |view| {
        let open = view.state().filter(|state| !state.archived);
        let mut state = open.ok_or(NOTHING_TO_CLOSE)?.clone();
        state.archived = true;
        Body::encode(&state).map_err(|_| NOTHING_TO_CLOSE)
    })
}

const NOTHING_TO_CLOSE: Refusal = Refusal {
    code: ErrorCode::Archived,
    sentence: "the room takes no writes already",
};

fn event_write(
    event: &OutboxEvent,
    op_id: OpId,
    body: impl Fn(&RoomView) -> Result<Body, Refusal> + Send + Sync + 'static,
) -> Write {
    let OutboxEvent { item, kind, op, .. } = event.clone();
    let hash = request_hash("outbox", &(item, &kind, &op, &event.body));
    Write {
        actor: event.actor,
        op_id: Some(op_id),
        request_hash: hash,
        // Events have one route only, so both hashes are the same.
        asked_hash: hash,
        event: Some((kind.clone(), op.clone())),
        item,
        is_new: false,
        bytes: event.body.as_str().len(),
        judge: Box::new(move |view| {
            Ok(Change {
                item,
                kind: kind.clone(),
                op: op.clone(),
                body: body(view)?,
                terms: Terms::default(),
            })
        }),
    }
}
