//! What needs no memory: `room:awareness` and `presence:changed`.

use super::sender::Sender;
use crate::live::{Ephemera, Ephemeral};

/// Passes on what happens in a room besides its changes, for as long as it is polled. A socket that
/// lags misses some: the next awareness says it anew, and a gap in the versions of presence shows.
pub(super) async fn follow(sender: &impl Sender, mut ephemera: Ephemera) {
    loop {
        match ephemera.next().await {
            Ephemeral::Presence(changed) => sender.mention("presence:changed", &*changed),
            Ephemeral::Awareness(awareness) => sender.mention("room:awareness", &*awareness),
        }
    }
}
