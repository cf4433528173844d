//! Who is in a room now: people at one instance, seen from the two others.

use super::{Places, Teller, Times};
use crate::prove::promises::people::{placed, told};
use anyhow::{Result, ensure};
use roost_client::Socket;
use roost_schema::{Login, PresenceState, Secret};
use std::time::Instant;

impl Teller {
    pub(super) async fn tell_presence(&self, places: &Places, times: &mut Times) -> Result<()> {
        let (user, room) = (self.guest.user_id(), self.room);
        let mut watches = Vec::new();
        for place in places {
            let watch = Socket::connect(&placed(&self.owner, Some(place))?).await?;
            watch.join(room, None).await?;
            watches.push(watch);
        }
        let mut seen = async |state| -> Result<()> {
            let began = Instant::now();
            for watch in &mut watches {
                let at = told(watch, user, state).await?;
                times.seen.push(at.saturating_duration_since(began));
            }
            Ok(())
        };
        let socket = Socket::connect(&placed(&self.guest, places.first())?).await?;
        socket.join(room, None).await?;
        seen(PresenceState::Here).await?;
        for place in places {
            let present = placed(&self.owner, Some(place))?
                .list_presence(room)
                .await?;
            let entries = present.iter().filter(|entry| entry.user_id == user).count();
            ensure!(
                entries == 1,
                "{entries} entries for one person: {present:?}"
            );
        }
        socket.leave(room).await?;
        seen(PresenceState::Gone).await?;

        let login = Login {
            email: self.guest_email.clone(),
            password: Secret::new(super::PASSWORD),
        };
        let device = self.guest.endpoint().login(&login).await?;
        let socket = Socket::connect(&placed(&device, places.first())?).await?;
        socket.join(room, None).await?;
        seen(PresenceState::Here).await?;
        placed(&device, places.last())?.logout().await?;
        seen(PresenceState::Gone).await
    }
}
