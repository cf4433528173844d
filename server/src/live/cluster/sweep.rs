//! The sweep: one batched query each second for the heads of the rooms that are active here. It
//! finds what was committed and never announced; it runs twice as often while this instance may be
//! deaf, for then it is how people on different instances see each other's changes.

use super::Instance;
use roost_schema::{Position, RoomId};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often the heads are read.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The pause while the backplane is down, or a registered instance sends no beacons.
const SWEEP_EVERY_UNSURE: Duration = Duration::from_millis(500);

/// Hints every room whose journal has another head or epoch than was delivered, until cancelled.
pub(in crate::live) async fn run(instance: Arc<Instance>) {
    loop {
        let pause = if instance.may_miss_announcements() {
            SWEEP_EVERY_UNSURE
        } else {
            SWEEP_EVERY
        };
        let pause = instance.cancel.run_until_cancelled(sleep(pause));
        if pause.await.is_none() {
            return;
        }
        let rooms: Vec<_> = instance.rooms().keys().copied().collect();
        look_at(&instance, &rooms).await;
    }
}

/// Compares the heads of these rooms with what was delivered.
pub(super) async fn look_at(instance: &Instance, rooms: &[RoomId]) {
    // Noted before the query is sent: only a head below it shows that the journal was taken back.
    let active: Vec<_> = {
        let active = instance.rooms();
        let delivered = rooms
            .iter()
            .filter_map(|id| Some((*id, active.get(id)?.delivered()?)));
        delivered.collect()
    };
    if active.is_empty() {
        return;
    }
    let ids: Vec<_> = active.iter().map(|(id, _)| *id).collect();
    metrics::counter!("roost_sweeps_total").increment(1);
    let heads = match instance.journal.heads(&ids).await {
        Ok(heads) => heads,
        Err(error) => return tracing::warn!(%error, "the sweep cannot read the heads"),
    };
    let is_cut_off = instance.is_cut_off();
    let rooms = instance.rooms();
    for (id, noted) in active {
        let head = heads.rooms.get(&id).copied().unwrap_or_default().head;
        let Some(room) = rooms.get(&id) else {
            continue;
        };
        let delivered = room.delivered().unwrap_or(noted);
        let is_behind = head > delivered.seq;
        if head < noted.seq || heads.epoch != delivered.epoch {
            room.signals.hint();
        } else if is_behind && is_cut_off {
            room.signals.hint_at(Position::new(heads.epoch, head));
        } else if is_behind {
            // The announcement may be on its way: one silent instance is no reason to expect none from the others.
            room.signals.expect(head);
        }
    }
}
