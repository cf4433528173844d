//! Which client address a rate limit counts.

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
