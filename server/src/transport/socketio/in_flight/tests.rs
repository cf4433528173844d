//! When a socket lags, and what counts as in flight.

use super::*;

#[test]
fn a_socket_lags_from_the_bound_until_half_of_it() {
    let mut in_flight = InFlight::default();
    for _ in 0..LAGGING_PACKETS {
        assert!(in_flight.admits(PacketClass::Frame));
        in_flight.add(10);
    }
    assert!(!in_flight.admits(PacketClass::Frame));
    assert!(in_flight.admits(PacketClass::Reply));
    in_flight.advance(470);
    assert!(!in_flight.admits(PacketClass::Frame), "49 are in flight");
    in_flight.advance(480);
    assert!(in_flight.admits(PacketClass::Frame), "48 are in flight");

    in_flight.advance(960);
    in_flight.add(LAGGING_BYTES);
    assert!(
        !in_flight.admits(PacketClass::Frame),
        "one large packet is enough"
    );
    in_flight.advance(960 + LAGGING_BYTES / 2);
    assert!(in_flight.admits(PacketClass::Frame));
}

#[test]
fn what_the_engine_writes_by_itself_does_not_add_up() {
    let mut in_flight = InFlight::default();
    let mut left = 0;
    for _ in 0..1_000 {
        left += 3;
        in_flight.advance(left);
        in_flight.add(100);
        assert_eq!((in_flight.packets(), in_flight.bytes()), (1, 100));
        left += 100;
        in_flight.advance(left);
        assert_eq!((in_flight.packets(), in_flight.bytes()), (0, 0));
    }
}

#[test]
fn a_packet_that_was_not_taken_is_not_in_flight() {
    let mut in_flight = InFlight::default();
    in_flight.add(7);
    in_flight.add(100);
    in_flight.remove_last(100);
    assert_eq!((in_flight.packets(), in_flight.bytes()), (1, 7));
    in_flight.advance(7);
    assert_eq!((in_flight.packets(), in_flight.bytes()), (0, 0));
}
