//! What the backplane brings, handed to those it is for; and this instance's beacon to the others.

use super::{
    Live,
    backplane::{Arrival, Arrivals, Bucket, Channel},
    message::Message,
    peers::{BEACON_EVERY, Beacon},
    speaks::SPEAKS,
    sweep,
};
use roost_schema::{RoomId, SessionId};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// Takes arrivals until cancelled. It never waits: work that takes time gets a task of its own.
pub(in crate::live) async fn run(live: Arc<Live>, mut arrivals: Arrivals) {
    let cancel = live.instance.cancel.clone();
    while let Some(Some(arrival)) = cancel.run_until_cancelled(arrivals.recv()).await {
        match arrival {
            Arrival::Message(bytes) => {
                if let Some(message) = Message::decode(&bytes) {
                    live.take(message);
                }
            }
            // Entries that were announced before the subscription are found in the journal.
            Arrival::Confirmed(buckets) => {
                let buckets: HashSet<_> = buckets.into_iter().collect();
                live.look_again(|room| buckets.contains(&Bucket::of(room)));
            }
            Arrival::Missed => live.look_again(|_| true),
        }
    }
}

/// Sends this instance's beacon each second, until cancelled.
pub(in crate::live) async fn send_beacons(live: Arc<Live>) {
    let cancel = live.instance.cancel.clone();
    let mut ticks = interval(BEACON_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        let beacon = Beacon {
            instance: live.instance.id,
            revocations_age_ms: live.fence().age().map(millis),
            lease_age_ms: live.fence().lease_age().map(millis),
            speaks: SPEAKS,
            stores_age_ms: live.stores_answered.age().map(millis),
        };
        live.send(Channel::Everyone, &Message::Beacon(beacon));
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

impl Live {
    /// Announces sessions that ended to the other instances.
    pub fn announce_revoked(&self, sessions: &[SessionId]) {
        if !sessions.is_empty() {
            self.send(Channel::Everyone, &Message::Revoked(sessions.to_vec()));
        }
    }

    /// Makes every active room look for what it missed.
    pub fn look_everywhere(&self) {
        self.look_again(|_| true);
    }

    /// Notes that the others know of this instance. Entries that they announced before are found in the stores.
    pub fn has_joined(&self) {
        if self.is_joining.swap(false, Ordering::AcqRel) {
            self.look_everywhere();
        }
    }

    fn take(&self, message: Message) {
        match message {
            Message::Beacon(beacon) => self.peers.receive(Instant::now(), beacon),
            _ if self.is_joining.load(Ordering::Acquire) => {}
            Message::Events {
                room,
                epoch,
                entries,
            } => {
                if let Some(active) = self.active_room(room) {
                    active.signals.receive(epoch, entries);
                }
            }
            Message::Presence(record) => self.instance.presence.apply_remote(record),
            Message::Awareness(awareness) => {
                if let Some(active) = self.active_room(awareness.room) {
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

    /// Sends a message to the other instances, if there are any.
    pub(super) fn send(&self, channel: Channel, message: &Message) {
        if let Some(backplane) = &self.instance.backplane {
            message.send(backplane.as_ref(), channel);
        }
    }

    fn look_again(&self, is_meant: impl Fn(RoomId) -> bool) {
        self.instance.presence.invalidate(&is_meant);
        let mut rooms: Vec<_> = self.instance.rooms().keys().copied().collect();
        rooms.retain(|room| is_meant(*room));
        let instance = Arc::clone(&self.instance);
        self.instance
            .tasks
            .spawn(async move { sweep::look_at(&instance, &rooms).await });
    }
}
