//! Shares of the arriving bytes: of guests, of accounts and of each address.

use super::*;
use std::net::Ipv4Addr;

fn client(number: usize) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap()).into()
}

/// Holds as many bytes as these addresses can, in pieces.
fn fill(arrivals: &Arc<Arrivals>, sender: Sender, clients: usize) -> Vec<Arriving> {
    let mut held = Vec::new();
    for number in 0..clients {
        for bytes in [sender.bytes_max(), 16 * 1_024, 1] {
            loop {
                let mut arriving = arrivals.begin(client(number), sender);
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
    for sender in [Sender::Guest, Sender::Account] {
        let arrivals = Arc::new(Arrivals::default());
        let held = fill(&arrivals, sender, 20);
        let mut late = arrivals.begin(client(0), sender);
        assert_eq!(late.hold(1).unwrap_err().code(), ErrorCode::Overloaded);
        for number in 20..32 {
            let mut others = arrivals.begin(client(number), sender);
            others.hold(sender.bytes_max()).unwrap();
        }
        drop(held);
        late.hold(sender.bytes_max()).unwrap();
    }
}

#[test]
fn guests_and_accounts_do_not_take_each_others_room() {
    let arrivals = Arc::new(Arrivals::default());
    let _guests = fill(&arrivals, Sender::Guest, 40);
    let mut guest = arrivals.begin(client(99), Sender::Guest);
    assert!(guest.hold(1).is_err(), "all is taken");
    let mut account = arrivals.begin(client(0), Sender::Account);
    account.hold(ACCOUNT_BYTES_MAX).unwrap();
}

#[test]
fn what_was_held_is_given_back() {
    let arrivals = Arc::new(Arrivals::default());
    for _ in 0..3 {
        let mut arriving = arrivals.begin(client(1), Sender::Guest);
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
    let of = |text: &str| arrivals.begin(text.parse().unwrap(), Sender::Guest);
    let mut first = of("2001:db8::1");
    first.hold(GUESTS_SHARE_BYTES).unwrap();
    assert!(of("2001:db8::2").hold(1).is_err());
    assert!(of("2001:db8:0:1::1").hold(1).is_ok());
}
