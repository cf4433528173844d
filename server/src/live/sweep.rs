//! The sweep: one batched query each second for the heads of the rooms that are active here. It
//! finds what was committed and never announced.

use super::Instance;
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// How often the heads are read.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Hints every room whose journal has another head or epoch than was delivered, until cancelled.
pub(super) async fn run(instance: Arc<Instance>) {
    let mut ticks = interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = instance.cancel.cancelled() => return,
            _ = ticks.tick() => sweep(&instance).await,
        }
    }
}

async fn sweep(instance: &Instance) {
    // Noted before the query is sent: only a head below this can mean a journal taken back.
    let active: Vec<_> = {
        let rooms = instance.rooms();
        let delivered = rooms
            .iter()
            .filter_map(|(id, room)| Some((*id, (*room.delivered.borrow())?)));
        delivered.collect()
    };
    if active.is_empty() {
        return;
    }
    let ids: Vec<_> = active.iter().map(|(id, _)| *id).collect();
    let heads = match instance.journal.heads(&ids).await {
        Ok(heads) => heads,
        Err(error) => return tracing::warn!(%error, "the sweep cannot read the heads"),
    };
    let rooms = instance.rooms();
    for (id, noted) in active {
        let head = heads.rooms.get(&id).copied().unwrap_or_default().head;
        let Some(room) = rooms.get(&id) else {
            continue;
        };
        let delivered = room.delivered.borrow().map_or(noted, |position| position);
        let is_ahead = head > delivered.seq;
        if is_ahead || head < noted.seq || heads.epoch != delivered.epoch {
            room.hint.notify_one();
        }
    }
}
