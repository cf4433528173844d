//! Presence: people at one instance, seen from the two others.

use super::{Party, Places, Times, retry_unavailable};
use crate::promises::people::{placed, presence_change};
use anyhow::{Result, ensure};
use roost_client::{Client, Socket};
use roost_schema::{Login, PresenceState, RoomId, Secret};
use std::time::Instant;

impl Party {
    pub(super) async fn run_presence(&self, places: &Places, times: &mut Times) -> Result<()> {
        let (user, room) = (self.guest.user_id(), self.room);
        let mut watches = Vec::new();
        for place in places {
            watches.push(join(&placed(&self.owner, Some(place))?, room).await?);
        }
        let mut seen = async |state| -> Result<()> {
            let began = Instant::now();
            for watch in &mut watches {
                let at = presence_change(watch, user, state).await?;
                times.seen.push(at.saturating_duration_since(began));
            }
            Ok(())
        };
        let socket = join(&placed(&self.guest, places.first())?, room).await?;
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
        let endpoint = self.guest.endpoint();
        let device = retry_unavailable(async || endpoint.login(&login).await).await?;
        let _socket = join(&placed(&device, places.first())?, room).await?;
        seen(PresenceState::Here).await?;
        let (there, session) = (
            placed(&self.guest, places.last())?,
            device.signed_in().session.id,
        );
        retry_unavailable(async || there.revoke_session(session).await).await?;
        seen(PresenceState::Gone).await
    }
}

async fn join(client: &Client, room: RoomId) -> Result<Socket> {
    let join = async || {
        let socket = Socket::connect(client).await?;
        socket.join(room, None).await?;
        Ok(socket)
    };
    Ok(retry_unavailable(join).await?)
}
