//! When the fence is open, when it shuts, and what an append may still do.

use super::*;

fn ago(pause: Duration) -> BootTime {
    let pause_ms = u64::try_from(pause.as_millis()).unwrap();
    BootTime(BootTime::now().0.saturating_sub(pause_ms))
}

#[test]
fn it_is_open_until_the_last_look_is_too_old_and_opens_with_the_next() {
    let fence = Fence::default();
    assert!(!fence.is_shut(), "nobody looks here");
    assert_eq!(fence.age(), None);

    fence.polled(ago(FENCE_AFTER + Duration::from_millis(50)));
    assert!(fence.is_shut(), "a look counts from its beginning");
    assert!(fence.age().unwrap() > FENCE_AFTER);

    assert!(fence.polled(BootTime::now()));
    assert!(!fence.is_shut());
    assert!(!fence.polled(BootTime::now()), "it was open");
}

#[test]
fn a_look_is_good_no_longer_than_the_lease() {
    let fence = Fence::default();
    fence.leased(ago(REGISTRY_LEASE + Duration::from_millis(50)));
    fence.polled(BootTime::now());
    assert!(fence.is_shut(), "it may count as gone");
    fence.leased(BootTime::now());
    assert!(fence.polled(BootTime::now()));
    assert!(!fence.is_shut());
}

#[test]
fn a_statement_may_outlast_the_lease_and_not_what_is_known() {
    let fence = Fence::default();
    fence.leased(ago(REGISTRY_LEASE.saturating_sub(Duration::from_secs(1))));
    fence.polled(ago(Duration::from_secs(1)));
    let gate = fence.gate();
    assert!(gate.is_open_for(FENCE_AFTER.saturating_sub(Duration::from_millis(1_500))));
    assert!(!gate.is_open_for(FENCE_AFTER));
}

#[tokio::test]
async fn whoever_waits_hears_that_it_shuts() {
    let fence = Fence::default();
    let cancel = CancellationToken::new();
    let _stop = cancel.clone().drop_guard();
    fence.polled(ago(FENCE_AFTER.saturating_sub(Duration::from_millis(300))));
    let watch = fence.clone().keep_watch(cancel);
    let wait = async {
        fence.shut().await;
        assert!(fence.is_shut());
    };
    tokio::select! {
        () = watch => unreachable!("it is not cancelled"),
        () = wait => {}
    }
    fence.extend_by(BootTime::now(), Duration::from_secs(5));
    assert!(!fence.is_shut());
}
