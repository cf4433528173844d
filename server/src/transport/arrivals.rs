//! Bounds the memory of what has not arrived whole: request bodies, and messages on a socket. Every byte counts against a
//! pool and against the share of its client address; what exceeds one of them is refused.
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
/// The pool of all senders with an account, and the share of one address: more than the largest body. Twenty addresses hold
/// 5/8 of the pool.
const ACCOUNTS_POOL_BYTES: usize = 34 * 1_024 * 1_024;
const ACCOUNTS_SHARE_BYTES: usize = ACCOUNTS_POOL_BYTES / 32;

const FULL: Error = Error::Later {
    code: ErrorCode::Overloaded,
    sentence: "too much is on its way from this address, or to this server; nothing was done",
    retry_after: Duration::from_secs(1),
};

/// What the sender of a body or message has shown of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No token, or one that is not valid.
    Guest,
    Account,
}

impl Standing {
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
    pub(super) fn begin(self: &Arc<Self>, client: IpAddr, standing: Standing) -> Arriving {
        Arriving {
            arrivals: Arc::clone(self),
            client: network(client),
            standing,
            bytes: 0,
        }
    }

    const fn pool(&self, standing: Standing) -> &Shares {
        match standing {
            Standing::Guest => &self.guests,
            Standing::Account => &self.accounts,
        }
    }
}

/// One body or message. It no longer counts when it is dropped.
pub(super) struct Arriving {
    arrivals: Arc<Arrivals>,
    client: IpAddr,
    standing: Standing,
    bytes: usize,
}

impl Arriving {
    /// Counts so many bytes of it from now on. An error, `overloaded`: they have no room, and the count stays.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<()> {
        let pool = self.arrivals.pool(self.standing);
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
        let pool = self.arrivals.pool(self.standing);
        pool.give_back(self.client, bytes);
        self.arrivals.gauge.decrement(units(bytes));
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// The sender has signed in: the bytes count in the pool of accounts from now on.
    pub(super) fn sign_in(&mut self) -> Result<()> {
        let bytes = self.bytes;
        self.hold(0)?;
        self.standing = Standing::Account;
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
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(number: usize) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap()).into()
    }

    /// Holds as many bytes as these addresses can, in pieces.
    fn fill(arrivals: &Arc<Arrivals>, standing: Standing, clients: usize) -> Vec<Arriving> {
        let mut held = Vec::new();
        for number in 0..clients {
            for bytes in [standing.bytes_max(), 16 * 1_024, 1] {
                loop {
                    let mut arriving = arrivals.begin(client(number), standing);
                    if arriving.hold(bytes).is_err() {
                        break;
                    }
                    held.push(arriving);
                }
            }
        }
        held
    }

    #[test]
    fn twenty_addresses_leave_room_for_others() {
        for standing in [Standing::Guest, Standing::Account] {
            let arrivals = Arc::new(Arrivals::default());
            let held = fill(&arrivals, standing, 20);
            let mut late = arrivals.begin(client(0), standing);
            assert_eq!(late.hold(1).unwrap_err().code(), ErrorCode::Overloaded);
            for number in 20..32 {
                let mut others = arrivals.begin(client(number), standing);
                others.hold(standing.bytes_max()).unwrap();
            }
            drop(held);
            late.hold(standing.bytes_max()).unwrap();
        }
    }

    #[test]
    fn guests_and_accounts_do_not_take_each_others_room() {
        let arrivals = Arc::new(Arrivals::default());
        let _guests = fill(&arrivals, Standing::Guest, 40);
        let mut guest = arrivals.begin(client(99), Standing::Guest);
        assert!(guest.hold(1).is_err(), "all is taken");
        let mut account = arrivals.begin(client(0), Standing::Account);
        account.hold(ACCOUNT_BYTES_MAX).unwrap();
    }

    #[test]
    fn what_was_held_is_given_back() {
        let arrivals = Arc::new(Arrivals::default());
        for _ in 0..3 {
            let mut arriving = arrivals.begin(client(1), Standing::Guest);
            arriving.hold(GUESTS_SHARE_BYTES).unwrap();
            assert!(arriving.hold(GUESTS_SHARE_BYTES + 1).is_err());
            arriving.hold(GUEST_BYTES_MAX).unwrap();
            arriving.sign_in().unwrap();
            arriving.hold(ACCOUNT_BYTES_MAX).unwrap();
        }
        for pool in [&arrivals.guests, &arrivals.accounts] {
            assert_eq!(pool.taken(), (0, 0));
        }
    }

    #[test]
    fn an_ipv6_network_has_one_share() {
        let arrivals = Arc::new(Arrivals::default());
        let of = |text: &str| arrivals.begin(text.parse().unwrap(), Standing::Guest);
        let mut first = of("2001:db8::1");
        first.hold(GUESTS_SHARE_BYTES).unwrap();
        assert!(of("2001:db8::2").hold(1).is_err());
        assert!(of("2001:db8:0:1::1").hold(1).is_ok());
    }
}
