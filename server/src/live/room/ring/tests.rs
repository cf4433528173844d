//! What the ring forgets, and that a run from it gives the newest state of each item.

use super::*;
use crate::store::journal::{RequestHash, Terms};
use chrono::DateTime;
use proptest::prelude::*;
use roost_schema::{Kind, Op, RoomId, UserId};

const START: Seq = Seq(10);

fn entry(seq: Seq, item: ItemId, text: &str) -> Entry {
    Entry {
        room: RoomId::generate(),
        seq,
        item,
        kind: Kind::Message,
        op: Op::Put,
        body: Body::encode(&text).unwrap(),
        actor: UserId::generate(),
        op_id: None,
        request_hash: RequestHash([0; 32]),
        asked_hash: None,
        at: DateTime::UNIX_EPOCH,
        born: seq,
        terms: Terms::default(),
        current: true,
    }
}

fn seqs(events: &[Arc<RoomEvent>]) -> Vec<u64> {
    events.iter().map(|event| event.seq.0).collect()
}

#[test]
fn what_is_superseded_keeps_all_but_its_body() {
    let mut ring = Ring::after(START);
    let (item, other) = (ItemId::generate(), ItemId::generate());
    let first = entry(Seq(11), item, &"x".repeat(10_000));
    ring.push(&[first.clone(), entry(Seq(12), other, "stays")]);
    let before = ring.bytes;
    let fresh = ring.push(&[entry(Seq(13), item, "edited")]);
    assert_eq!(seqs(&fresh), [13]);
    assert!(ring.bytes + 9_000 < before, "{before} to {}", ring.bytes);
    let kept = ring.entries[0].event.as_ref().unwrap();
    let all = (kept.seq, kept.item, &kept.kind, kept.actor, &kept.body);
    let (kind, actor) = (&first.kind, first.actor);
    assert_eq!(all, (Seq(11), item, kind, actor, &Body::null()));
    let run = ring.run_after(START).unwrap();
    assert_eq!((seqs(&run.events), run.cut_at), (vec![12, 13], None));
}

#[test]
fn what_the_journal_calls_superseded_is_told_to_nobody() {
    let mut ring = Ring::after(START);
    let superseded = Entry {
        current: false,
        ..entry(Seq(11), ItemId::generate(), "edited beyond this page")
    };
    let fresh = ring.push(&[superseded, entry(Seq(12), ItemId::generate(), "stays")]);
    assert_eq!(seqs(&fresh), [12]);
    assert_eq!(seqs(&ring.run_after(START).unwrap().events), [12]);
    assert!(!format!("{ring:?}").contains("beyond"));
}

#[test]
fn an_op_of_another_release_stands_beside_the_state_until_the_next() {
    let mut ring = Ring::after(START);
    let item = ItemId::generate();
    let suffix = Entry {
        op: Op::from("append"),
        ..entry(Seq(12), item, "and its suffix")
    };
    let fresh = ring.push(&[entry(Seq(11), item, "text"), suffix]);
    assert_eq!(seqs(&fresh), [11, 12]);
    assert_eq!(seqs(&ring.run_after(START).unwrap().events), [11, 12]);
    ring.push(&[entry(Seq(13), item, "edited")]);
    assert_eq!(seqs(&ring.run_after(START).unwrap().events), [13]);
    assert!(!format!("{ring:?}").contains("suffix"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The changes are so many and so large that the ring forgets events by number and by bytes.
    #[test]
    fn runs_hold_the_newest_of_each_item(
        changes in prop::collection::vec((0..20_usize, prop_oneof![20 => Just(8), 1 => Just(60_000)]), 1..2_500),
        batch in 1..9_usize,
    ) {
        let items: Vec<_> = (0..20).map(|_| ItemId::generate()).collect();
        let numbered = (START.0 + 1..).zip(&changes);
        let entries: Vec<_> = numbered
            .map(|(seq, (item, bytes))| entry(Seq(seq), items[*item], &"x".repeat(*bytes)))
            .collect();
        let mut ring = Ring::after(START);
        for part in entries.chunks(batch) {
            ring.push(part);
        }
        let newest: HashMap<_, _> = entries.iter().map(|it| (it.item, it.seq)).collect();
        prop_assert!(ring.bytes <= RING_BYTES_MAX && ring.entries.len() <= RING_EVENTS_MAX);
        prop_assert_eq!(ring.bytes, ring.entries.iter().map(RingEntry::bytes).sum::<usize>());
        prop_assert!(ring.newest.len() <= ring.entries.len());
        prop_assert!(ring.knows_after <= ring.serves_after);
        let mut at = ring.serves_after;
        let mut given = Vec::new();
        while let Some(run) = ring.run_after(at) {
            given.extend(run.events.iter().map(|event| (event.item, event.seq)));
            let Some(cut) = run.cut_at else { break };
            prop_assert!(cut > at);
            at = cut;
        }
        let wanted = entries.iter().map(|it| (it.item, it.seq));
        let wanted: Vec<_> = wanted
            .filter(|(item, seq)| *seq > ring.serves_after && newest[item] == *seq)
            .collect();
        prop_assert_eq!(given, wanted);
        for it in entries.iter().filter(|it| newest[&it.item] > ring.knows_after) {
            let is_superseded = newest[&it.item] > it.seq;
            prop_assert_eq!(ring.supersedes(&RoomEvent::from(it.clone())), is_superseded);
        }
    }
}
