//! Bounds the memory of what has not arrived whole: request bodies, and messages on a socket. Every byte counts against
//! a pool and against the share of its client address; what exceeds one of them is refused.
//!
//! Neither one address nor twenty of them can fill a pool: see the shares below.

use super::{limits::network, shares::Shares};
use crate::app::{Error, Result};
use metrics::Gauge;
use roost_schema::ErrorCode;
use std::{net::IpAddr, sync::Arc, time::Duration};

/// The largest body or message of a sender without a token: a sign-in takes a few hundred bytes.
pub(super) const GUEST_BYTES_MAX: usize = 16 * 1_024;
/// The largest body or message of a sender with an account.
pub(super) const ACCOUNT_BYTES_MAX: usize = 1_024 * 1_024;

/// The pool of all guests, and the share of one address: eight sign-ins one byte short of the largest. Twenty addresses
/// hold 5/8 of the pool; twelve more have a whole share, or some 5,000 sign-ins of the usual size.
const GUESTS_POOL_BYTES: usize = 4 * 1_024 * 1_024;
const GUESTS_SHARE_BYTES: usize = GUESTS_POOL_BYTES / 32;
/// The pool of all senders with an account, and the share of one address: more than the largest body. Twenty addresses
/// hold 5/8 of the pool.
const ACCOUNTS_POOL_BYTES: usize = 34 * 1_024 * 1_024;
const ACCOUNTS_SHARE_BYTES: usize = ACCOUNTS_POOL_BYTES / 32;

const FULL: Error = Error::Later {
    code: ErrorCode::Overloaded,
    sentence: "too much is on its way from this address, or to this server; nothing was done",
    retry_after: Duration::from_secs(1),
};

/// Who sends a body or message, as far as its token shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// No token, or one that is not valid.
    Guest,
    Account,
}

impl Sender {
    /// Bytes of one body or message.
    pub(super) const fn bytes_max(self) -> usize {
        match self {
            Self::Guest => GUEST_BYTES_MAX,
            Self::Account => ACCOUNT_BYTES_MAX,
        }
    }
}

/// The bytes that are arriving at one instance.
pub struct Arrivals {
    guests: Shares,
    accounts: Shares,
    gauge: Gauge,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            guests: Shares::new(GUESTS_POOL_BYTES, GUESTS_SHARE_BYTES),
            accounts: Shares::new(ACCOUNTS_POOL_BYTES, ACCOUNTS_SHARE_BYTES),
            gauge: metrics::gauge!("roost_arriving_bytes"),
        }
    }
}

impl Arrivals {
    /// Begins to count a body or message, of which no byte has arrived yet.
    pub(super) fn begin(self: &Arc<Self>, client: IpAddr, sender: Sender) -> Arriving {
        Arriving {
            arrivals: Arc::clone(self),
            client: network(client),
            sender,
            bytes: 0,
        }
    }

    const fn pool(&self, sender: Sender) -> &Shares {
        match sender {
            Sender::Guest => &self.guests,
            Sender::Account => &self.accounts,
        }
    }
}

/// One body or message. It no longer counts when it is dropped.
pub(super) struct Arriving {
    arrivals: Arc<Arrivals>,
    client: IpAddr,
    sender: Sender,
    bytes: usize,
}

impl Arriving {
    /// Counts so many bytes of it from now on. An error, `overloaded`: they have no room, and the count stays.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<()> {
        let pool = self.arrivals.pool(self.sender);
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            if !pool.take(self.client, more) {
                return Err(FULL);
            }
            self.arrivals.gauge.increment(units(more));
        } else {
            self.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        let pool = self.arrivals.pool(self.sender);
        pool.give_back(self.client, bytes);
        self.arrivals.gauge.decrement(units(bytes));
    }

    pub(super) fn sender(&self) -> Sender {
        self.sender
    }

    /// The sender has signed in: the bytes count in the pool of accounts from now on.
    pub(super) fn sign_in(&mut self) -> Result<()> {
        let bytes = self.bytes;
        self.hold(0)?;
        self.sender = Sender::Account;
        self.hold(bytes)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

/// For a gauge; far below where a float is not exact.
#[expect(clippy::cast_precision_loss, reason = "bounded by the pools")]
const fn units(bytes: usize) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests;
