//! How often one address or account may ask, and which address a request comes from.

use crate::{
    app::{Error, Result},
    config::Config,
};
use axum::http::HeaderMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use ipnet::IpNet;
use roost_schema::{ErrorCode, UserId};
use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A person's network is an IPv6 /64; single addresses in it are free to take.
const IPV6_PREFIX_BITS: u32 = 64;

/// A socket.io-client that reconnects makes several handshakes at once, a page with tabs more.
const HANDSHAKE_BURST_SECONDS: u32 = 5;
const SIGN_IN_BURST_SECONDS: u32 = 2;

/// How often addresses and accounts that may ask again are forgotten. It bounds the memory of each
/// limiter to those that asked within its burst and this period.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// The address a request comes from: the connection's, or what a trusted proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The limits of this instance (GCRA: a steady rate with a burst of one second's worth).
pub struct Limits {
    requests_by_address: Limiter<IpAddr>,
    requests_by_account: Limiter<UserId>,
    handshakes_by_address: Limiter<IpAddr>,
    sign_ins_by_address: Limiter<IpAddr>,
}

impl Limits {
    pub fn new(config: &Config) -> Self {
        let handshakes = config.address_handshakes_per_second;
        Self {
            requests_by_address: Limiter::new(
                config.address_requests_per_second,
                config.address_requests_per_second,
                "too many requests from this address",
            ),
            requests_by_account: Limiter::new(
                config.account_requests_per_second,
                config.account_requests_per_second,
                "too many requests from this account",
            ),
            handshakes_by_address: Limiter::new(
                handshakes,
                handshakes.saturating_mul(HANDSHAKE_BURST_SECONDS),
                "too many new connections from this address",
            ),
            sign_ins_by_address: Limiter::new(
                config.address_sign_ins_per_second,
                config
                    .address_sign_ins_per_second
                    .saturating_mul(SIGN_IN_BURST_SECONDS),
                "too many sign-ins from this address",
            ),
        }
    }

    /// Counts one request of an address: `rate_limited` when there were too many.
    pub fn check_address(&self, address: ClientAddress) -> Result<()> {
        self.requests_by_address.check(&network(address.0))
    }

    /// Counts one request of an account, from whichever address: `rate_limited`.
    pub fn check_account(&self, user: UserId) -> Result<()> {
        self.requests_by_account.check(&user)
    }

    /// Counts one Socket.IO connection an address opens: `rate_limited`.
    pub fn check_handshake(&self, address: ClientAddress) -> Result<()> {
        self.handshakes_by_address.check(&network(address.0))
    }

    /// Counts one try of an address to register, sign in or refresh: `rate_limited`. Passwords cost
    /// so much that one address must not take all there is, and nobody may guess fast.
    pub fn check_sign_in(&self, address: IpAddr) -> Result<()> {
        self.sign_ins_by_address.check(&network(address))
    }

    /// Forgets, until cancelled, whoever may ask again.
    pub async fn forget_idle(&self, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(FORGET_EVERY);
        while cancel.run_until_cancelled(tick.tick()).await.is_some() {
            self.requests_by_address.limiter.retain_recent();
            self.requests_by_account.limiter.retain_recent();
            self.handshakes_by_address.limiter.retain_recent();
            self.sign_ins_by_address.limiter.retain_recent();
        }
    }
}

struct Limiter<K: Clone + Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
    sentence: &'static str,
}

impl<K: Clone + Hash + Eq> Limiter<K> {
    fn new(per_second: u32, burst: u32, sentence: &'static str) -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self {
            limiter: RateLimiter::keyed(quota),
            sentence,
        }
    }

    fn check(&self, key: &K) -> Result<()> {
        self.limiter
            .check_key(key)
            .map_err(|not_until| Error::Later {
                code: ErrorCode::RateLimited,
                sentence: self.sentence,
                retry_after: not_until.wait_time_from(self.limiter.clock().now()),
            })
    }
}

/// What counts as one place on the network.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Walks `X-Forwarded-For` from the nearest hop outwards while the hops are trusted proxies; the
/// first that is not one is the client. What stands further left is the client's own claim.
pub(super) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> ClientAddress {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in hops.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    ClientAddress(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted)
            .0
            .to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("192.0.2.7", &["203.0.113.1"]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 203.0.113.1"]), "203.0.113.1");
        assert_eq!(
            client("10.0.0.1", &["203.0.113.1, 10.0.0.2"]),
            "203.0.113.1"
        );
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6", "203.0.113.1"]),
            "203.0.113.1"
        );
        assert_eq!(client("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
