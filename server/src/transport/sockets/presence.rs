//! Sends the events that the journal does not keep: `room:awareness` and `presence:changed`.

use super::sender::Sender;
use crate::live::{EphemeralEvent, EphemeralEvents};

/// Sends a room's presence and awareness for as long as it is polled. A socket that lags misses some events: the next
/// awareness replaces the one before, and a gap in the versions of presence shows that one is missing.
pub(super) async fn follow(sender: &impl Sender, mut events: EphemeralEvents) {
    loop {
        match events.next().await {
            EphemeralEvent::Presence(changed) => {
                sender.send_lossy("presence:changed", &*changed);
            }
            EphemeralEvent::Awareness(awareness) => {
                sender.send_lossy("room:awareness", &*awareness);
            }
        }
    }
}
