//! The address of a client, also behind proxies: what `X-Forwarded-For` says, as far as it is believed.

use axum::http::HeaderMap;
use ipnet::IpNet;
use std::{net::IpAddr, sync::Once};

/// Characters of a hop that cannot be read, as the log shows them.
const SHOWN_CHARS_MAX: usize = 64;

/// The address a request comes from: the connection's, or the one that a trusted proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Walks `X-Forwarded-For` from the nearest hop outwards while the hops are trusted proxies; the
/// first that is not one is the client. What stands further left is the client's own claim.
pub(super) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> ClientAddress {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let values = headers.get_all("x-forwarded-for").iter();
    let hops: Vec<&[u8]> = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .collect();
    for hop in hops.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        match Hop::read(hop) {
            Hop::Address(address) => client = address,
            Hop::Hidden => break,
            Hop::Unreadable => {
                report(hop, client);
                break;
            }
        }
    }
    ClientAddress(client)
}

/// One element of `X-Forwarded-For`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    Address(IpAddr),
    /// The proxy does not say the address: it is `unknown`, or a name such as `_hidden` (RFC 7239 §6), or nothing.
    Hidden,
    Unreadable,
}

impl Hop {
    /// Reads an address, with or without a port, brackets, quotation marks or a zone. Proxies write all of these, also the
    /// forms that RFC 7239 has for `Forwarded`.
    fn read(bytes: &[u8]) -> Self {
        let Ok(text) = str::from_utf8(bytes) else {
            return Self::Unreadable;
        };
        let text = text.trim();
        let quoted = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let text = quoted.unwrap_or(text).trim();
        if is_hidden(text) {
            return Self::Hidden;
        }
        address(text).map_or(Self::Unreadable, |it| Self::Address(it.to_canonical()))
    }
}

fn is_hidden(text: &str) -> bool {
    let name = text.split(':').next().unwrap_or_default();
    text.is_empty() || name.eq_ignore_ascii_case("unknown") || name.starts_with('_')
}

fn address(text: &str) -> Option<IpAddr> {
    let (address, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        (
            address,
            after.strip_prefix(':').or(after.is_empty().then_some(""))?,
        )
    } else {
        match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, port),
            // An IPv6 address without brackets has no port.
            _ => (text, ""),
        }
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || port.starts_with('_');
    let address = match address.split_once('%') {
        // The zone is the proxy's name for one of its networks.
        Some((address, _zone)) if address.contains(':') => address,
        _ => address,
    };
    address.parse().ok().filter(|_| is_port)
}

/// Counts a hop that cannot be read, and logs the first of this process. `proxy`: the trusted proxy that vouches for it,
/// which stands for its client now.
fn report(hop: &[u8], proxy: IpAddr) {
    static LOGGED: Once = Once::new();
    metrics::counter!("roost_forwarded_unreadable_total").increment(1);
    LOGGED.call_once(|| {
        let hop = String::from_utf8_lossy(hop);
        let hop: String = hop.chars().take(SHOWN_CHARS_MAX).collect();
        tracing::warn!(
            proxy.address = %proxy,
            ?hop,
            "a trusted proxy sends an X-Forwarded-For that names no address: its clients share the limits of one; \
             this is logged once, roost_forwarded_unreadable_total counts"
        );
    });
}

#[cfg(test)]
mod tests;
