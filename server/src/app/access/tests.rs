//! From where requests come.

use super::*;

fn at(address: &str) -> Origin {
    Origin {
        address: address.parse().unwrap(),
        user_agent: None,
    }
}

#[test]
fn addresses_of_one_network_are_one_place() {
    for (one, other, is_same) in [
        ("203.0.113.7", "203.0.113.250", true),
        ("203.0.113.7", "203.0.112.7", false),
        ("203.0.113.7", "::ffff:203.0.113.9", true),
        ("2001:db8:1:2::3", "2001:db8:1:ffff::", true),
        ("2001:db8:1::", "2001:db8:2::", false),
    ] {
        let is_equal = at(one).place() == at(other).place();
        assert_eq!(is_equal, is_same, "{one} {other}");
    }
    let phone = Origin {
        user_agent: Some("phone/1.0".into()),
        ..at("203.0.113.7")
    };
    assert_ne!(phone.place(), at("203.0.113.7").place());
    assert_eq!(phone.place().network, at("203.0.113.7").place().network);
}
