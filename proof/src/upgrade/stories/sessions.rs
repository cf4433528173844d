//! Accounts and sessions that one release creates and another one continues.

use super::{PASSWORD, Party, Places, Times, everywhere, register, retry_unavailable};
use crate::promises::people::placed;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use roost_client::{Client, Endpoint};
use roost_schema::{Login, Secret};

/// The session and account that the next mix of releases continues.
pub(super) struct Kept {
    /// A session whose tokens each instance has exchanged since.
    device: Client,
    /// The email of a person who registered in that mix.
    newcomer: String,
}

impl Party {
    pub(super) async fn run_sessions(&mut self, places: &Places, times: &mut Times) -> Result<()> {
        if let Some(kept) = self.kept.take() {
            self.end(&kept, places, times)
                .await
                .context("of the mix before")?;
        }
        let own = self.guest.endpoint().local_address();
        let own = own.context("everybody has an address")?;
        let here = places[0].from_address(own)?;
        let device = sign_in(&here, &self.guest_email).await?;
        exchange(&device, places).await?;
        let name = format!("newcomer-{}-{}", self.number, self.mixes);
        let (_, newcomer) = register(&places[0], &name, self.number, 2 + self.mixes).await?;
        self.kept = Some(Kept { device, newcomer });
        Ok(())
    }

    /// Continues the session and signs it out; the person who registered signs in.
    async fn end(&self, kept: &Kept, places: &Places, times: &mut Times) -> Result<()> {
        exchange(&kept.device, places).await?;
        let own = kept.device.endpoint().local_address();
        let own = own.context("everybody has an address")?;
        for place in places {
            sign_in(&place.from_address(own)?, &kept.newcomer)
                .await
                .context("a newcomer")?;
        }
        let token = kept.device.access_token().await?;
        let (here, session) = (
            placed(&self.guest, places.first())?,
            kept.device.signed_in().session.id,
        );
        retry_unavailable(async || here.revoke_session(session).await).await?;
        // A plain request, because the client would exchange its tokens.
        let is_out = async |client: &Client| {
            let request = client.endpoint().request(Method::GET, "/api/v1/me");
            let answer = request.bearer_auth(token.expose()).send().await;
            Ok(answer?.status() == 401)
        };
        let took = everywhere(&kept.device, places, is_out).await?;
        times.signed_out.extend(took);
        Ok(())
    }
}

async fn sign_in(at: &Endpoint, email: &str) -> Result<Client> {
    let login = Login {
        email: email.to_owned(),
        password: Secret::new(PASSWORD),
    };
    retry_unavailable(async || at.login(&login).await)
        .await
        .with_context(|| format!("{email} cannot sign in"))
}

/// Exchanges the refresh token at each instance in turn, and uses each new access token at all instances.
async fn exchange(device: &Client, places: &Places) -> Result<()> {
    for place in places {
        let there = placed(device, Some(place))?;
        retry_unavailable(async || there.refresh().await)
            .await
            .context("a refresh token")?;
        for other in places {
            let there = placed(device, Some(other))?;
            let me = retry_unavailable(async || there.me().await).await;
            let me = me.context("an access token from elsewhere")?;
            ensure!(me.id == device.user_id(), "it is somebody else's");
        }
    }
    Ok(())
}
