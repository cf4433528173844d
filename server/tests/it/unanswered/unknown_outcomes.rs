//! Writes that were sent once without an answer and then meet an error that ends a write: as long as the journal may
//! still get them, no reply says that nothing was written.

use super::{DEADLINE, Fault, World, message};
use roost_schema::{ErrorCode, Seq};
use roost_server::{
    live::{BootTime, LiveError, Refusal, RoomView, Write, Written},
    store::journal::STATEMENT_MAX,
};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::timeout;

const REFUSAL: Refusal = Refusal {
    code: ErrorCode::Conflict,
    sentence: "a refusal that a test made",
};

/// A judge that accepts the first time, and refuses from then on.
fn good_once(write: Write) -> Write {
    let (was_judged, judge) = (AtomicBool::new(false), write.judge);
    Write {
        judge: Box::new(move |view: &RoomView| {
            if was_judged.swap(true, Ordering::AcqRel) {
                Err(REFUSAL)
            } else {
                judge(view)
            }
        }),
        ..write
    }
}

/// The reply to a write that was accepted, met this fault, and then is refused.
async fn refused_after(trouble: Fault, world: &World) -> Result<Written, LiveError> {
    world.journal.next(trouble);
    let write = good_once(message(world.author, "the second"));
    timeout(DEADLINE, world.room.write(write)).await.unwrap()
}

#[tokio::test]
async fn a_fence_that_shuts_says_nothing_of_what_was_sent_before() {
    let world = World::new().await;
    let fence = world.live.fence();
    // The mailbox sends, and a moment later the gate is shut for the longest statement.
    fence.extend_by(BootTime::now(), STATEMENT_MAX);
    world.journal.next(Fault::NeverSent);
    world.journal.next(Fault::WaitUntilShut);
    let answer = world.write("the second").await;
    assert!(
        matches!(answer, Err(LiveError::OutcomeUnknown)),
        "{answer:?}"
    );

    fence.polled(BootTime::now());
    assert_eq!(world.write("the second").await.unwrap().entry.seq, Seq(2));
    assert_eq!(world.seqs_of("the second").await, [Seq(2)]);
}

/// The slot is free, so the first try may still take it.
#[tokio::test]
async fn a_refusal_says_nothing_of_what_was_sent_before() {
    let world = World::new().await;
    let answer = refused_after(Fault::NeverSent, &world).await;
    assert!(
        matches!(answer, Err(LiveError::OutcomeUnknown)),
        "{answer:?}"
    );
    assert_eq!(world.write("the second").await.unwrap().entry.seq, Seq(2));
}

#[tokio::test]
async fn a_refusal_stands_once_another_has_taken_the_slot() {
    let world = World::new().await;
    let answer = refused_after(Fault::TakenByAnother, &world).await;
    assert!(
        matches!(answer, Err(LiveError::Refused(REFUSAL))),
        "{answer:?}"
    );
    assert!(world.seqs_of("the second").await.is_empty());
}
