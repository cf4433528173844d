//! Rate limits by address and account.

use super::forwarded::ClientAddress;
use crate::{
    app::{BAD_TICKET, Error, Result, StreamTicket, TICKET_LIFETIME},
    config::Config,
    live::{Limiter, Rate, Redis},
};
use roost_schema::{BATCH_OPS_MAX, ErrorCode, UserId};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The part of an address that counts as one client.
pub(super) use crate::app::network;

/// A socket.io-client that reconnects makes several handshakes at once, a page with tabs more.
const HANDSHAKE_BURST_SECONDS: u32 = 5;
const SIGN_IN_BURST_SECONDS: u32 = 2;
/// Passwords that one address may try for one account: a burst of so many, and then one in each gap.
const GUESSES_AT_ONCE: u32 = 20;
const GUESS_GAP: Duration = Duration::from_secs(3);
/// Changes of a batch that count as one request: they share a round trip and a commit.
const CHANGES_PER_REQUEST: usize = 20;
/// How long a used ticket is remembered: longer than a ticket is valid.
const TICKET_REMEMBERED: Duration = TICKET_LIFETIME.saturating_mul(2);

/// The limits on clients, one budget for each over all instances.
pub struct Limits {
    requests_by_address: Limiter<IpAddr>,
    requests_by_account: Limiter<UserId>,
    handshakes_by_address: Limiter<IpAddr>,
    sign_ins_by_address: Limiter<IpAddr>,
    /// Keys: the digest of an e-mail address and the address of the client; or the account of a signed-in person.
    guesses: Limiter<String>,
    tickets: Limiter<Uuid>,
}

impl Limits {
    /// Without Redis, each instance counts for itself.
    pub fn new(config: &Config, redis: Option<&Redis>) -> Self {
        let requests = |per_second| Rate {
            gap: gap(per_second),
            burst: per_second,
            is_strict: false,
        };
        let strict = |per_second: u32, burst_seconds| Rate {
            gap: gap(per_second),
            burst: per_second.saturating_mul(burst_seconds),
            is_strict: true,
        };
        let addresses = requests(config.address_requests_per_second);
        let accounts = requests(config.account_requests_per_second);
        let handshakes = strict(
            config.address_handshakes_per_second,
            HANDSHAKE_BURST_SECONDS,
        );
        let sign_ins = strict(config.address_sign_ins_per_second, SIGN_IN_BURST_SECONDS);
        let guesses = Rate {
            gap: GUESS_GAP,
            burst: GUESSES_AT_ONCE,
            is_strict: true,
        };
        let once = Rate {
            gap: TICKET_REMEMBERED,
            burst: 1,
            is_strict: true,
        };
        Self {
            requests_by_address: Limiter::new("address", addresses, redis),
            requests_by_account: Limiter::new("account", accounts, redis),
            handshakes_by_address: Limiter::new("handshake", handshakes, redis),
            sign_ins_by_address: Limiter::new("sign-in", sign_ins, redis),
            guesses: Limiter::new("guess", guesses, redis),
            tickets: Limiter::new("ticket", once, redis),
        }
    }

    /// Counts one request of an address: `rate_limited` when there were too many.
    pub async fn check_address(&self, address: ClientAddress) -> Result<()> {
        let checked = self.requests_by_address.check(&network(address.0)).await;
        checked.map_err(refusal("too many requests from this address"))
    }

    /// Counts one request of an account, from any address: `rate_limited`.
    pub async fn check_account(&self, user: UserId) -> Result<()> {
        let checked = self.requests_by_account.check(&user).await;
        checked.map_err(refusal("too many requests from this account"))
    }

    /// Counts a batch of changes of an account beyond the request it came in: one for each 20 of them.
    pub async fn check_batch(&self, user: UserId, changes: usize) -> Result<()> {
        for _ in 0..changes.min(BATCH_OPS_MAX) / CHANGES_PER_REQUEST {
            self.check_account(user).await?;
        }
        Ok(())
    }

    /// Counts one Socket.IO connection an address opens: `rate_limited`.
    pub async fn check_handshake(&self, address: ClientAddress) -> Result<()> {
        let checked = self.handshakes_by_address.check(&network(address.0)).await;
        checked.map_err(refusal("too many new connections from this address"))
    }

    /// Counts one try of an address to register, sign in, refresh or change a password: `rate_limited`. Passwords
    /// cost so much that one address must not take all there is.
    pub async fn check_sign_in(&self, address: IpAddr) -> Result<()> {
        let checked = self.sign_ins_by_address.check(&network(address)).await;
        checked.map_err(refusal("too many sign-ins from this address"))
    }

    /// Counts one password that an address shows for an account, whether the account exists or not, on any route:
    /// `rate_limited`. It counts by address, so that the owner can still sign in from another one.
    pub async fn check_guess(&self, email: &str, address: IpAddr) -> Result<()> {
        let digest = Sha256::digest(email.trim().to_lowercase());
        let key = format!("{}:{}", hex::encode(digest), network(address));
        let checked = self.guesses.check(&key).await;
        checked.map_err(refusal(
            "too many sign-ins to this account from this address",
        ))
    }

    /// Counts one password that a signed-in person shows for their own account: by account and address as in
    /// [`Self::check_guess`], and by account from any address, because the token may be stolen.
    pub async fn check_own_guess(&self, user: UserId, email: &str, address: IpAddr) -> Result<()> {
        let checked = self.guesses.check(&user.to_string()).await;
        checked.map_err(refusal("too many passwords were tried for this account"))?;
        self.check_guess(email, address).await
    }

    /// Uses up a stream ticket: `unauthenticated` when it was used before. Without Redis an instance knows only the
    /// tickets that were used on it.
    pub async fn use_ticket(&self, ticket: &StreamTicket) -> Result<()> {
        let used = self.tickets.check(&ticket.id).await;
        used.map_err(|_| BAD_TICKET)
    }

    /// Runs the background tasks of the limits, until cancelled.
    pub async fn keep(&self, cancel: CancellationToken) {
        tokio::join!(
            self.requests_by_address.keep(&cancel),
            self.requests_by_account.keep(&cancel),
            self.handshakes_by_address.keep(&cancel),
            self.sign_ins_by_address.keep(&cancel),
            self.guesses.keep(&cancel),
            self.tickets.keep(&cancel),
        );
    }
}

fn gap(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

fn refusal(sentence: &'static str) -> impl Fn(Duration) -> Error {
    move |retry_after| Error::Later {
        code: ErrorCode::RateLimited,
        sentence,
        retry_after,
    }
}

#[cfg(test)]
mod tests;
