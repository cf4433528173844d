//! What the backplane brings, handed to those it is for; and this instance's beacon to the others.

use super::{
    Instance, Mark, Revocations,
    backplane::{Arrival, Arrivals, Bucket, Channel},
    message::Message,
    peers::{BEACON_EVERY, Beacon},
    speaks::SPEAKS,
    sweep,
};
use roost_schema::RoomId;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// Those that messages of other instances are for.
pub(in crate::live) struct Inbound {
    pub(in crate::live) instance: Arc<Instance>,
    pub(in crate::live) revocations: Arc<Revocations>,
    /// While it is set, nothing but beacons is received.
    pub(in crate::live) is_joining: Arc<AtomicBool>,
}

impl Inbound {
    /// Takes arrivals until cancelled. It never waits: work that takes time gets a task of its own.
    pub(in crate::live) async fn take_arrivals(self, mut arrivals: Arrivals) {
        let instance = &self.instance;
        let cancel = &instance.cancel;
        while let Some(Some(arrival)) = cancel.run_until_cancelled(arrivals.recv()).await {
            match arrival {
                Arrival::Message(bytes) => {
                    if let Some(message) = Message::decode(&bytes) {
                        self.take(message);
                    }
                }
                // Entries that were announced before the subscription are found in the journal.
                Arrival::Confirmed(buckets) => {
                    let buckets: HashSet<_> = buckets.into_iter().collect();
                    look_again(instance, |room| buckets.contains(&Bucket::of(room)));
                }
                Arrival::Missed => look_again(instance, |_| true),
            }
        }
    }

    fn take(&self, message: Message) {
        let instance = &self.instance;
        match message {
            Message::Beacon(beacon) => instance.peers.receive(Instant::now(), beacon),
            _ if self.is_joining.load(Ordering::Acquire) => {}
            Message::Events {
                room,
                epoch,
                entries,
            } => {
                if let Some(active) = instance.hold_active(room) {
                    active.signals.receive(epoch, entries);
                }
            }
            Message::Presence(record) => instance.presence.apply_remote(record),
            Message::Awareness(awareness) => {
                if let Some(active) = instance.hold_active(awareness.room) {
                    active.apply_awareness(awareness.people);
                }
            }
            Message::Revoked(sessions) => {
                for session in sessions {
                    self.revocations.revoke(session);
                }
            }
        }
    }
}

/// Sends this instance's beacon each second, until cancelled. `stores_answered`: when the stores last answered it.
pub(in crate::live) async fn send_beacons(instance: Arc<Instance>, stores_answered: Arc<Mark>) {
    let fence = &instance.fence;
    let mut ticks = interval(BEACON_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let cancel = &instance.cancel;
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let beacon = Beacon {
            instance: instance.id,
            revocations_age_ms: fence.age().map(millis),
            lease_age_ms: fence.lease_age().map(millis),
            speaks: SPEAKS,
            stores_age_ms: stores_answered.age().map(millis),
        };
        instance.send(Channel::Everyone, &Message::Beacon(beacon));
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// Makes active rooms look for what they missed.
pub(in crate::live) fn look_again(instance: &Arc<Instance>, is_meant: impl Fn(RoomId) -> bool) {
    instance.presence.invalidate(&is_meant);
    let mut rooms: Vec<_> = instance.rooms().keys().copied().collect();
    rooms.retain(|room| is_meant(*room));
    let looking = Arc::clone(instance);
    instance
        .tasks
        .spawn(async move { sweep::look_at(&looking, &rooms).await });
}
