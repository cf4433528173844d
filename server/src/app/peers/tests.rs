//! When an instance may believe its peers instead of the stores.

use super::*;
use crate::live::{Beacon, PeerSpeaks, SPEAKS};
use roost_schema::InstanceId;

const MOMENT: Duration = Duration::from_millis(1);
const WELL: LookEnded = LookEnded {
    pause: Duration::from_secs(1),
    lasted: MOMENT,
    has_failed: false,
    lease_age: Some(Duration::from_secs(3)),
};
const FAILED: LookEnded = LookEnded {
    has_failed: true,
    ..WELL
};
const LATE: LookEnded = LookEnded {
    lease_age: Some(NOT_RENEWED_FOR),
    ..WELL
};

fn is_spared_after(looks: &[LookEnded]) -> bool {
    let standing = looks.iter().fold(Standing::default(), Standing::after);
    standing.may_be_spared()
}

#[test]
fn one_whose_looks_or_renewals_fail_may_be_spared() {
    assert!(!is_spared_after(&[WELL]));
    assert!(is_spared_after(&[FAILED]));
    assert!(is_spared_after(&[LATE]));
    assert!(!is_spared_after(&[FAILED, WELL]));
}

#[test]
fn one_that_slept_may_not_before_it_has_caught_up() {
    let long = FENCE_AFTER + MOMENT;
    for slept in [
        LookEnded {
            pause: long,
            ..FAILED
        },
        LookEnded {
            lasted: long,
            ..FAILED
        },
        LookEnded {
            lasted: long,
            ..LATE
        },
    ] {
        assert!(!is_spared_after(&[slept]));
        assert!(!is_spared_after(&[slept, FAILED, LATE, FAILED]));
        assert!(is_spared_after(&[slept, WELL, FAILED]));
    }
}

#[test]
fn a_link_that_has_just_come_back_opens_nothing() {
    let (peers, heard) = (Peers::default(), Instant::now());
    let instance = InstanceId::generate();
    let row = PeerSpeaks {
        instance,
        speaks: SPEAKS,
    };
    peers.set_registered(heard, &[row]);
    let age_ms = u64::try_from(NOT_READ_FOR.as_millis()).unwrap();
    let beacon = Beacon {
        instance,
        revocations_age_ms: Some(age_ms),
        lease_age_ms: None,
        speaks: SPEAKS,
        stores_age_ms: None,
    };
    peers.receive(heard, beacon);
    let is_spared = |silence: Duration, up_for: Duration, is_shut: bool| {
        is_no_peer_better_informed(&peers, heard + silence, Some(up_for), is_shut)
    };
    let (just, settled) = (SILENT_AFTER, SILENT_AFTER + MOMENT);
    assert!(is_spared(MOMENT, just, false), "it was said just now");
    assert!(!is_spared(MOMENT, just, true), "another may say more");
    assert!(is_spared(MOMENT, settled, true));
    assert!(!is_spared(settled, just, false), "it was said before");
    assert!(is_spared(settled, settled, false));
    assert!(!is_spared(settled, settled, true), "it has aged");
}
