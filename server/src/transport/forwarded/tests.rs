//! Which client address a request has, by what its proxies say.

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
fn an_address_is_read_in_every_form_that_proxies_write() {
    for (forwarded, wanted) in [
        ("203.0.113.1:5678", "203.0.113.1"),
        ("\"203.0.113.1:5678\"", "203.0.113.1"),
        ("203.0.113.1:", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("\"[2001:db8::1]\"", "2001:db8::1"),
        ("\"[2001:db8::1]:_port\"", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("[::ffff:203.0.113.1]:80", "203.0.113.1"),
        ("6.6.6.6, [2001:db8::1]:443 ,\t10.0.0.2:80", "2001:db8::1"),
    ] {
        assert_eq!(client("10.0.0.1", &[forwarded]), wanted, "{forwarded}");
        assert_eq!(
            client("192.0.2.7", &[forwarded]),
            "192.0.2.7",
            "{forwarded}"
        );
    }
}

#[test]
fn what_names_no_address_ends_the_walk() {
    for hop in [
        "unknown",
        "Unknown:80",
        "_hidden",
        "\"_hidden\"",
        "_SEVKISEK:8080",
        "",
        "nonsense",
        "203.0.113.1:http",
        "203.0.113.256",
        "[2001:db8::1",
        "[2001:db8::1]443",
        "2001:db8::1]",
        "unix:/run/proxy.sock",
        "203.0.113.1%eth0",
        "\"203.0.113.1",
    ] {
        // What stands before it may be the client's own claim.
        let forwarded = format!("203.0.113.9, {hop}");
        assert_eq!(client("10.0.0.1", &[&forwarded]), "10.0.0.1", "{hop}");
        let forwarded = format!("{hop}, 10.0.0.2");
        assert_eq!(client("10.0.0.1", &[&forwarded]), "10.0.0.2", "{hop}");
    }
}

#[test]
fn only_what_cannot_be_read_counts_as_unreadable() {
    for hidden in ["unknown", "_hidden", "_a:80", " ", ""] {
        assert_eq!(Hop::read(hidden.as_bytes()), Hop::Hidden, "{hidden:?}");
    }
    let unreadable: [&[u8]; 4] = [b"nonsense", b"10.0.0.1:http", b"unix:", b"\xff"];
    for hop in unreadable {
        assert_eq!(Hop::read(hop), Hop::Unreadable, "{hop:?}");
    }
}

#[test]
fn bytes_of_a_client_do_not_hide_what_a_proxy_adds() {
    let mut headers = HeaderMap::new();
    let value = axum::http::HeaderValue::from_bytes(b"\xff, 203.0.113.1").unwrap();
    headers.insert("x-forwarded-for", value);
    let (peer, trusted) = (
        "10.0.0.1".parse().unwrap(),
        ["10.0.0.1/32".parse().unwrap()],
    );
    let client = client_address(peer, &headers, &trusted);
    assert_eq!(client.0.to_string(), "203.0.113.1");
}
