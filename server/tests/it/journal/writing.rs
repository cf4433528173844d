//! The promises of `append`, with one writer at a time.

use super::{
    entries::{body, change, deletion, entry, open_gate, run, seqs, superseded},
    stores::Store,
};
use roost_schema::{RoomId, Seq};
use roost_server::store::journal::{Appended, Entry, Journal, JournalError, Stop};

on!([sqlite, postgres, mongo] contract:
    what_was_given_comes_back_byte_for_byte,
    the_slot_before_must_exist,
    a_batch_that_is_not_a_run_is_refused,
    a_taken_slot_and_a_known_operation_are_told_apart,
    a_batch_stops_at_a_planted_rival,
    a_batch_stops_at_a_planted_operation,
    operations_may_be_absent_many_times,
    a_large_batch_is_written_whole,
    older_entries_of_an_item_are_cleared_also_within_a_batch,
    a_refused_batch_leaves_every_item_as_it_was,
    an_item_three_times_in_a_batch_is_current_once,
    rooms_do_not_touch_each_other,
);

/// The answer of an append whose whole batch is durable.
fn all(count: usize) -> Appended {
    Appended {
        committed: count,
        stop: None,
    }
}

fn stopped(committed: usize, stop: Stop) -> Appended {
    Appended {
        committed,
        stop: Some(stop),
    }
}

async fn whole_log(journal: &dyn Journal, room: RoomId) -> Vec<Entry> {
    let page = journal.log(room, Seq::ZERO, usize::MAX).await.unwrap();
    assert!(!page.more);
    page.entries
}

mod contract {
    use super::*;

    pub(super) async fn what_was_given_comes_back_byte_for_byte(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let mut batch = run(room, 1, 5);
        batch[0].body = body("{ \"b\" : 1.0e2,\t\"a\":[ ],\n \"b\":2}");
        batch[1].body = body(r#""nul \u0000, pair \ud83d\ude00, slash \/ 😀 é""#);
        batch[2].body = body("123456789012345678901234567890.10");
        batch[3].body = body(&format!("\"{}\"", "x".repeat(256 * 1024)));
        batch[4].body = body("\"'; DROP TABLE journal; -- $1 {}\"");
        assert_eq!(
            journal.append(room, &batch, &open_gate()).await.unwrap(),
            all(5)
        );

        assert_eq!(whole_log(&*store.open().await, room).await, batch);
        let items: Vec<_> = batch.iter().map(|entry| entry.item).collect();
        let mut found = journal.items(room, &items).await.unwrap();
        found.sort_by_key(|entry| entry.seq);
        assert_eq!(found, batch);
    }

    pub(super) async fn the_slot_before_must_exist(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let early = journal
            .append(room, &[entry(room, 2)], &open_gate())
            .await
            .unwrap();
        assert_eq!(early, stopped(0, Stop::SlotTaken));
        assert_eq!(
            journal.append(room, &[], &open_gate()).await.unwrap(),
            all(0)
        );
        assert_eq!(whole_log(&*journal, room).await, []);

        journal
            .append(room, &run(room, 1, 3), &open_gate())
            .await
            .unwrap();
        let gap = journal
            .append(room, &run(room, 5, 2), &open_gate())
            .await
            .unwrap();
        assert_eq!(gap, stopped(0, Stop::SlotTaken));
        assert_eq!(seqs(&whole_log(&*journal, room).await), [1, 2, 3]);
    }

    pub(super) async fn a_batch_that_is_not_a_run_is_refused(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let hole = [entry(room, 1), entry(room, 3)];
        assert!(journal.append(room, &hole, &open_gate()).await.is_err());
        assert!(
            journal
                .append(room, &[entry(room, 0)], &open_gate())
                .await
                .is_err()
        );
        let elsewhere = [entry(RoomId::generate(), 1)];
        assert!(
            journal
                .append(room, &elsewhere, &open_gate())
                .await
                .is_err()
        );
        assert_eq!(whole_log(&*journal, room).await, []);
    }

    pub(super) async fn a_taken_slot_and_a_known_operation_are_told_apart(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let first = entry(room, 1);
        journal
            .append(room, std::slice::from_ref(&first), &open_gate())
            .await
            .unwrap();

        let rival = journal
            .append(room, &[entry(room, 1)], &open_gate())
            .await
            .unwrap();
        assert_eq!(rival, stopped(0, Stop::SlotTaken));

        let retry = Entry {
            actor: first.actor,
            op_id: first.op_id.clone(),
            ..entry(room, 2)
        };
        let known = journal
            .append(room, std::slice::from_ref(&retry), &open_gate())
            .await
            .unwrap();
        assert_eq!(known, stopped(0, Stop::OperationKnown));
        let operation = (first.actor, first.op_id.clone().unwrap());
        let unknown = (retry.actor, retry.item.to_string().parse().unwrap());
        let found = journal
            .operations(room, &[unknown, operation])
            .await
            .unwrap();
        assert_eq!(found, std::slice::from_ref(&first));

        let other_person = Entry {
            op_id: first.op_id.clone(),
            ..entry(room, 2)
        };
        assert_eq!(
            journal
                .append(room, &[other_person], &open_gate())
                .await
                .unwrap(),
            all(1)
        );
        let other = RoomId::generate();
        let other_room = Entry {
            room: other,
            seq: Seq(1),
            born: Seq(1),
            ..retry
        };
        assert_eq!(
            journal
                .append(other, &[other_room], &open_gate())
                .await
                .unwrap(),
            all(1)
        );
    }

    pub(super) async fn a_batch_stops_at_a_planted_rival(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        journal
            .append(room, &[entry(room, 1)], &open_gate())
            .await
            .unwrap();
        store.plant(&entry(room, 4)).await;

        let stopped_at = journal
            .append(room, &run(room, 2, 4), &open_gate())
            .await
            .unwrap();
        let committed = if store.is_sql() { 0 } else { 2 };
        assert_eq!(stopped_at, stopped(committed, Stop::SlotTaken));
        let kept = if store.is_sql() {
            vec![1, 4]
        } else {
            vec![1, 2, 3, 4]
        };
        // The planted entry has left a gap, which a log refuses.
        let changes = journal.changes(room, Seq::ZERO, usize::MAX).await.unwrap();
        assert_eq!(seqs(&changes.entries), kept);
        let log = journal.log(room, Seq::ZERO, usize::MAX).await;
        let is_hole = matches!(log, Err(JournalError::Corrupt { seq: Seq(2), .. }));
        assert_eq!(is_hole, store.is_sql());
    }

    pub(super) async fn a_batch_stops_at_a_planted_operation(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let first = entry(room, 1);
        journal
            .append(room, std::slice::from_ref(&first), &open_gate())
            .await
            .unwrap();
        let mut batch = run(room, 2, 3);
        batch[1] = Entry {
            actor: first.actor,
            op_id: first.op_id.clone(),
            ..entry(room, 3)
        };

        let stopped_at = journal.append(room, &batch, &open_gate()).await.unwrap();
        let committed = usize::from(!store.is_sql());
        assert_eq!(stopped_at, stopped(committed, Stop::OperationKnown));
        assert_eq!(whole_log(&*journal, room).await.len(), committed + 1);

        let mut twice = run(room, 2 + committed as u64, 2);
        twice[1].actor = twice[0].actor;
        let op_id = twice[0].op_id.clone();
        twice[1].op_id = op_id;
        let within = journal.append(room, &twice, &open_gate()).await.unwrap();
        assert_eq!(within, stopped(committed, Stop::OperationKnown));
    }

    pub(super) async fn operations_may_be_absent_many_times(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let mut batch = run(room, 1, 3);
        let actor = batch[0].actor;
        for entry in &mut batch {
            (entry.op_id, entry.actor) = (None, actor);
        }
        assert_eq!(
            journal.append(room, &batch, &open_gate()).await.unwrap(),
            all(3)
        );
        assert_eq!(whole_log(&*journal, room).await, batch);
    }

    /// On SQL the batch takes several statements, and is still all or nothing.
    pub(super) async fn a_large_batch_is_written_whole(store: &Store) {
        let count = if store.is_sql() { 2_500 } else { 500 };
        let journal = store.open().await;
        let room = RoomId::generate();
        let batch = run(room, 1, count);
        let appended = journal.append(room, &batch, &open_gate()).await.unwrap();
        assert_eq!(appended, all(batch.len()));

        let mut late = run(room, count + 1, count);
        let last = late.last_mut().unwrap();
        (last.actor, last.op_id) = (batch[7].actor, batch[7].op_id.clone());
        let committed = if store.is_sql() { 0 } else { count - 1 };
        let refused = journal.append(room, &late, &open_gate()).await.unwrap();
        let expected = stopped(usize::try_from(committed).unwrap(), Stop::OperationKnown);
        assert_eq!(refused, expected);
        let heads = journal.heads(&[room]).await.unwrap();
        assert_eq!(heads.rooms[&room].head, Seq(count + committed));
    }

    pub(super) async fn older_entries_of_an_item_are_cleared_also_within_a_batch(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let (first, other) = (entry(room, 1), entry(room, 2));
        journal
            .append(room, &[first.clone(), other.clone()], &open_gate())
            .await
            .unwrap();
        let (second, third) = (change(&first, 3), change(&first, 4));
        let (new, gone) = (entry(room, 5), deletion(&other, 6));
        let batch = [second.clone(), third.clone(), new.clone(), gone.clone()];
        assert_eq!(
            journal.append(room, &batch, &open_gate()).await.unwrap(),
            all(4)
        );

        let log = whole_log(&*journal, room).await;
        let expected = [
            superseded(&first),
            superseded(&other),
            superseded(&second),
            third.clone(),
            new.clone(),
            gone.clone(),
        ];
        assert_eq!(log, expected);
        let items = journal
            .items(room, &[other.item, first.item])
            .await
            .unwrap();
        assert_eq!(items.len(), 2);
        assert!(items.contains(&third) && items.contains(&gone));
    }

    /// The slot before is free, or the slot is taken, or the operation is known.
    pub(super) async fn a_refused_batch_leaves_every_item_as_it_was(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let batch = run(room, 1, 3);
        let append = async |batch: &[Entry]| journal.append(room, batch, &open_gate()).await;
        append(&batch).await.unwrap();
        let known = Entry {
            actor: batch[1].actor,
            op_id: batch[1].op_id.clone(),
            ..deletion(&batch[2], 4)
        };
        for refused in [
            [change(&batch[0], 5), deletion(&batch[1], 6)].as_slice(),
            &[change(&batch[0], 3)],
            &[known],
        ] {
            let stopped = append(refused).await.unwrap();
            assert_eq!(stopped.committed, 0);
            assert!(stopped.stop.is_some());
            assert_eq!(whole_log(&*journal, room).await, batch);
            let changes = journal.changes(room, Seq::ZERO, usize::MAX).await.unwrap();
            assert_eq!(changes.entries, batch);
        }
    }

    pub(super) async fn an_item_three_times_in_a_batch_is_current_once(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let (old, new) = (entry(room, 1), entry(room, 3));
        let append = async |batch: &[Entry]| journal.append(room, batch, &open_gate()).await;
        append(std::slice::from_ref(&old)).await.unwrap();
        let batch = [
            change(&old, 2),
            new.clone(),
            change(&old, 4),
            change(&new, 5),
            change(&old, 6),
            deletion(&new, 7),
        ];
        assert_eq!(append(&batch).await.unwrap(), all(6));
        let log = whole_log(&*journal, room).await;
        let current: Vec<_> = log.iter().filter(|entry| entry.current).cloned().collect();
        assert_eq!(seqs(&current), [6, 7]);
    }

    pub(super) async fn rooms_do_not_touch_each_other(store: &Store) {
        let journal = store.open().await;
        let (room, other) = (RoomId::generate(), RoomId::generate());
        let first = entry(room, 1);
        let same_item = Entry {
            room: other,
            ..first.clone()
        };
        journal
            .append(room, std::slice::from_ref(&first), &open_gate())
            .await
            .unwrap();
        let batch = std::slice::from_ref(&same_item);
        journal.append(other, batch, &open_gate()).await.unwrap();
        journal
            .append(room, &[change(&first, 2)], &open_gate())
            .await
            .unwrap();
        assert_eq!(whole_log(&*journal, other).await, [same_item]);
    }
}
