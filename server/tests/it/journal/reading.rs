//! The promises of reads: pages, positions, history, floors, trimming and the epoch.

use super::{
    entries::{
        append, body, change, deletion, emptied, entry, now, open_gate, run, seqs, superseded,
    },
    stores::Store,
};
use chrono::Duration;
use roost_schema::{Direction, Epoch, ItemId, Kind, Op, RoomId, Seq};
use roost_server::store::journal::{
    Entry, FindQuery, FindRoom, Journal, JournalError, Page, RoomHead, Trim,
};
use std::{collections::BTreeMap, sync::Arc};

on!([sqlite, postgres, mongo] contract:
    heads_of_many_rooms_come_with_the_epoch,
    heads_follow_other_instances_and_a_restore,
    a_page_ends_at_its_bytes,
    a_page_ends_at_its_entries,
    changes_agree_with_a_plain_list,
    history_is_read_both_ways_without_the_dead,
    two_current_entries_are_tolerated,
    kinds_and_ops_of_another_release_are_carried,
    a_current_entry_without_a_body_is_no_deletion,
    trimming_keeps_slots_and_raises_the_floor_first,
    an_expired_tombstone_brings_nothing_back_to_life,
    an_epoch_stays_until_it_is_changed_and_two_racers_change_it_once,
    the_store_verifies_itself,
);

/// A page of a room's messages.
async fn history(
    journal: &dyn Journal,
    room: RoomId,
    direction: Direction,
    beyond: Option<u64>,
    limit_items: usize,
) -> Result<Page, JournalError> {
    let beyond = beyond.map(Seq);
    let query = FindQuery::all(Kind::Message, direction, limit_items);
    journal.find_in(FindRoom { room, beyond }, query).await
}

fn page(page: &Page) -> (Vec<u64>, bool) {
    (seqs(&page.entries), page.more)
}

mod contract {
    use super::*;
    use Direction::{Newer, Older};

    pub(super) async fn kinds_and_ops_of_another_release_are_carried(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let mut batch = run(room, 1, 3);
        batch[1].kind = Kind::from("poll");
        batch.push(Entry {
            op: Op::from("append"),
            ..change(&batch[0], 4)
        });
        append(&*journal, &batch).await;
        let all = usize::MAX / 2;
        assert_eq!(
            journal.log(room, Seq::ZERO, all).await.unwrap().entries,
            batch
        );
        let changes = journal.changes(room, Seq::ZERO, all).await.unwrap();
        assert_eq!(
            changes.entries, batch,
            "the op stands beside the state of its item"
        );
        let polls = FindQuery::all(Kind::from("poll"), Newer, 9);
        let all_of = FindRoom { room, beyond: None };
        let polls = journal.find_in(all_of, polls).await.unwrap();
        assert_eq!(seqs(&polls.entries), [2]);
        let messages = history(&*journal, room, Older, None, 9).await.unwrap();
        assert_eq!(seqs(&messages.entries), [3, 1]);
        let items = journal.items(room, &[batch[0].item]).await.unwrap();
        assert_eq!(seqs(&items), [1]);
        // The next state supersedes both entries.
        append(&*journal, &[deletion(&batch[0], 5)]).await;
        let changes = journal.changes(room, Seq::ZERO, all).await.unwrap();
        assert_eq!(seqs(&changes.entries), [2, 3, 5]);
        let trim = Trim {
            superseded_before: now() + Duration::hours(1),
            tombstones_before: now() - Duration::hours(1),
        };
        assert_eq!(journal.trim(trim).await.unwrap(), 2);
    }

    pub(super) async fn a_current_entry_without_a_body_is_no_deletion(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let batch = run(room, 1, 3);
        append(&*journal, &batch).await;
        append(&*journal, &[change(&batch[2], 4)]).await;
        store.lose_body(room, Seq(1)).await;
        let all = usize::MAX / 2;
        let is_unsound = |page: Result<Page, JournalError>| matches!(page, Err(JournalError::Unsound(what)) if what.contains(&room.to_string()));
        assert!(is_unsound(journal.log(room, Seq::ZERO, all).await));
        assert!(is_unsound(journal.changes(room, Seq::ZERO, all).await));
        assert!(is_unsound(history(&*journal, room, Newer, None, 9).await));
        journal.items(room, &[batch[0].item]).await.unwrap_err();
        // Reads without the damaged entry succeed. A superseded entry that still has its op id was not emptied, so it
        // is damaged, too.
        assert_eq!(
            seqs(&journal.log(room, Seq(1), all).await.unwrap().entries),
            [2, 3, 4]
        );
        store.lose_body(room, Seq(3)).await;
        assert!(is_unsound(journal.log(room, Seq(1), all).await));
        assert_eq!(
            seqs(&journal.changes(room, Seq(1), all).await.unwrap().entries),
            [2, 4]
        );
    }

    pub(super) async fn heads_of_many_rooms_come_with_the_epoch(store: &Store) {
        let journal = store.open().await;
        let rooms: Vec<_> = (0..20).map(|_| RoomId::generate()).collect();
        for (room, count) in rooms.iter().zip(0..10) {
            if count > 0 {
                append(&*journal, &run(*room, 1, count)).await;
            }
        }
        let none = journal.heads(&[]).await.unwrap();
        assert!(none.epoch.0 > 0 && none.epoch.0 < 1 << 62);
        assert!(none.rooms.is_empty());
        let heads = journal.heads(&rooms).await.unwrap();
        assert_eq!(heads.epoch, none.epoch);
        assert_eq!(heads.rooms.len(), rooms.len());
        for (room, count) in rooms.iter().zip((0..10).chain(std::iter::repeat(0))) {
            let expected = RoomHead {
                head: Seq(count),
                floor: Seq::ZERO,
            };
            assert_eq!(heads.rooms[room], expected);
        }
    }

    pub(super) async fn heads_follow_other_instances_and_a_restore(store: &Store) {
        let (one, two) = (store.open().await, store.open().await);
        let (room, quiet) = (RoomId::generate(), RoomId::generate());
        let head = async |journal: &Arc<dyn Journal>| {
            let heads = journal.heads(&[room, quiet]).await.unwrap();
            assert_eq!(heads.rooms[&quiet], RoomHead::default());
            heads.rooms[&room].head.0
        };
        assert_eq!((head(&one).await, head(&two).await), (0, 0));
        append(&*one, &run(room, 1, 3)).await;
        assert_eq!((head(&one).await, head(&two).await), (3, 3));
        append(&*two, &run(room, 4, 1)).await;
        assert_eq!((head(&one).await, head(&two).await), (4, 4));
        append(&*one, &run(room, 5, 7)).await;
        assert_eq!((head(&one).await, head(&two).await), (11, 11));
        store.take_back(room, Seq(2)).await;
        assert_eq!((head(&one).await, head(&two).await), (2, 2));
        append(&*two, &run(room, 3, 1)).await;
        assert_eq!((head(&one).await, head(&two).await), (3, 3));
        store.take_back(room, Seq(0)).await;
        assert_eq!((head(&one).await, head(&two).await), (0, 0));
    }

    pub(super) async fn a_page_ends_at_its_bytes(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let mut batch = run(room, 1, 5);
        for (entry, size) in batch.iter_mut().zip([1_000, 100, 100, 300, 100]) {
            entry.body = body(&format!("\"{}\"", "é".repeat((size - 2) / 2)));
        }
        append(&*journal, &batch).await;
        for changes in [false, true] {
            let read = async |after, limit| {
                let read = if changes {
                    journal.changes(room, Seq(after), limit).await
                } else {
                    journal.log(room, Seq(after), limit).await
                };
                page(&read.unwrap())
            };
            assert_eq!(read(0, 0).await, (vec![1], true));
            assert_eq!(read(0, 1_099).await, (vec![1], true));
            assert_eq!(read(0, 1_100).await, (vec![1, 2], true));
            assert_eq!(read(1, 499).await, (vec![2, 3], true));
            assert_eq!(read(1, 600).await, (vec![2, 3, 4, 5], false));
            assert_eq!(read(4, 1).await, (vec![5], false));
            assert_eq!(read(5, 1).await, (vec![], false));
        }
    }

    pub(super) async fn a_page_ends_at_its_entries(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        for first in (1..=1_500).step_by(250) {
            append(&*journal, &run(room, first, 250)).await;
        }
        let (mut after, mut read) = (Seq::ZERO, Vec::new());
        loop {
            let page = journal.log(room, after, usize::MAX).await.unwrap();
            assert!(!page.entries.is_empty());
            read.extend(seqs(&page.entries));
            after = Seq(*read.last().unwrap());
            if !page.more {
                break;
            }
        }
        assert_eq!(read, (1..=1_500).collect::<Vec<_>>());
        let rest = journal.log(room, Seq(476), usize::MAX).await.unwrap();
        assert_eq!((rest.entries.len(), rest.more), (1_024, false));
    }

    /// Resuming from any position must lead to the same state as reading everything.
    pub(super) async fn changes_agree_with_a_plain_list(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let mut newest: BTreeMap<ItemId, Entry> = BTreeMap::new();
        let mut log: Vec<Entry> = Vec::new();
        for seq in 1..=120_u64 {
            let earlier = log
                .get(usize::try_from(seq * 7 % (seq + 3)).unwrap())
                .cloned();
            let next = match earlier {
                Some(earlier) if seq % 5 == 0 => deletion(&earlier, seq),
                Some(earlier) if seq % 2 == 0 => change(&earlier, seq),
                _ => entry(room, seq),
            };
            newest.insert(next.item, next.clone());
            log.push(next);
        }
        for batch in log.chunks(7) {
            append(&*journal, batch).await;
        }
        for since in [0, 1, 17, 60, 61, 119, 120, 500] {
            let (mut position, mut read) = (Seq(since), Vec::new());
            loop {
                let page = journal.changes(room, position, 150).await.unwrap();
                position = page.entries.last().map_or(position, |entry| entry.seq);
                read.extend(page.entries);
                if !page.more {
                    break;
                }
            }
            let mut expected: Vec<_> = newest
                .values()
                .filter(|entry| entry.seq > Seq(since))
                .cloned()
                .collect();
            expected.sort_by_key(|entry| entry.seq);
            assert_eq!(read, expected, "changes since {since}");
        }
    }

    pub(super) async fn history_is_read_both_ways_without_the_dead(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let mut batch = run(room, 1, 6);
        batch[2].kind = Kind::Member;
        append(&*journal, &batch).await;
        append(&*journal, &[change(&batch[0], 7), deletion(&batch[3], 8)]).await;

        let read = async |direction, beyond, limit| {
            page(
                &history(&*journal, room, direction, beyond, limit)
                    .await
                    .unwrap(),
            )
        };
        assert_eq!(read(Older, None, 10).await, (vec![6, 5, 2, 7], false));
        assert_eq!(read(Older, None, 2).await, (vec![6, 5], true));
        assert_eq!(read(Older, Some(5), 2).await, (vec![2, 7], false));
        assert_eq!(read(Older, Some(1), 2).await, (vec![], false));
        assert_eq!(read(Newer, None, 2).await, (vec![7, 2], true));
        assert_eq!(read(Newer, Some(2), 2).await, (vec![5, 6], false));
        let first = history(&*journal, room, Newer, None, 1).await.unwrap();
        assert_eq!(first.entries[0].born, Seq(1));
    }

    pub(super) async fn two_current_entries_are_tolerated(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let batch = run(room, 1, 3);
        append(&*journal, &batch).await;
        let (edited, gone) = (change(&batch[0], 4), deletion(&batch[1], 5));
        append(&*journal, &[edited.clone(), gone.clone()]).await;
        store.leave_current(room, Seq(1)).await;
        store.leave_current(room, Seq(2)).await;

        let mut items = journal
            .items(room, &[batch[0].item, batch[1].item])
            .await
            .unwrap();
        items.sort_by_key(|entry| entry.seq);
        assert_eq!(items, [edited.clone(), gone]);
        let changes = journal.changes(room, Seq::ZERO, usize::MAX).await.unwrap();
        assert_eq!(page(&changes), (vec![3, 4, 5], false));
        // The same holds when the newer entry is on another page.
        let first = journal.changes(room, Seq::ZERO, 1).await.unwrap();
        let (seqs, more) = page(&first);
        assert!(more && !seqs.contains(&1) && !seqs.contains(&2), "{seqs:?}");
        for (direction, expected) in [(Direction::Older, [3, 4]), (Direction::Newer, [4, 3])] {
            let read = history(&*journal, room, direction, None, 5).await.unwrap();
            assert_eq!(page(&read), (expected.to_vec(), false));
            let one = history(&*journal, room, direction, None, 1).await.unwrap();
            assert_eq!(page(&one), (vec![expected[0]], true));
        }
        append(&*journal, &[change(&batch[0], 6)]).await;
        let log = journal
            .log(room, Seq::ZERO, usize::MAX)
            .await
            .unwrap()
            .entries;
        assert_eq!(
            (log[0].current, log[3].current, log[5].current),
            (false, false, true)
        );
    }

    pub(super) async fn trimming_keeps_slots_and_raises_the_floor_first(store: &Store) {
        let journal = store.open().await;
        let (room, quiet) = (RoomId::generate(), RoomId::generate());
        let old = now() - Duration::days(40);
        let mut batch = run(room, 1, 3);
        batch.extend([
            change(&batch[0], 4),
            deletion(&batch[1], 5),
            deletion(&batch[2], 6),
        ]);
        for entry in &mut batch[..5] {
            entry.at = old;
        }
        append(&*journal, &batch).await;
        let other = entry(quiet, 1);
        append(&*journal, std::slice::from_ref(&other)).await;

        let bounds = Trim {
            superseded_before: now() - Duration::days(1),
            tombstones_before: now() - Duration::days(30),
        };
        assert_eq!(journal.trim(bounds).await.unwrap(), 4);
        assert_eq!(journal.trim(bounds).await.unwrap(), 0);

        let log = journal.log(room, Seq::ZERO, usize::MAX).await.unwrap();
        let kept = [
            emptied(&batch[0]),
            emptied(&batch[1]),
            emptied(&batch[2]),
            batch[3].clone(),
            emptied(&batch[4]),
            batch[5].clone(),
        ];
        assert_eq!(log.entries, kept);
        let heads = journal.heads(&[room, quiet]).await.unwrap();
        assert_eq!(
            heads.rooms[&room],
            RoomHead {
                head: Seq(6),
                floor: Seq(5)
            }
        );
        assert_eq!(
            heads.rooms[&quiet],
            RoomHead {
                head: Seq(1),
                floor: Seq::ZERO
            }
        );
        let changes = journal.changes(room, Seq::ZERO, usize::MAX).await.unwrap();
        assert_eq!(changes.entries, [batch[3].clone(), batch[5].clone()]);
        let forgotten = (batch[0].actor, batch[0].op_id.clone().unwrap());
        assert_eq!(journal.operations(room, &[forgotten]).await.unwrap(), []);
        assert_eq!(journal.items(room, &[batch[1].item]).await.unwrap(), []);
        assert_eq!(journal.items(quiet, &[other.item]).await.unwrap(), [other]);

        let taken = journal
            .append(room, &[entry(room, 5)], &open_gate())
            .await
            .unwrap();
        assert_eq!(taken.committed, 0);
        append(&*journal, &[entry(room, 7)]).await;
    }

    pub(super) async fn an_expired_tombstone_brings_nothing_back_to_life(store: &Store) {
        let journal = store.open().await;
        let room = RoomId::generate();
        let first = entry(room, 1);
        let gone = Entry {
            at: now() - Duration::days(40),
            ..deletion(&first, 2)
        };
        append(&*journal, &[first.clone(), gone.clone()]).await;
        store.leave_current(room, Seq(1)).await;
        let bounds = Trim {
            superseded_before: now() - Duration::days(50),
            tombstones_before: now() - Duration::days(30),
        };
        assert_eq!(journal.trim(bounds).await.unwrap(), 1);
        assert_eq!(journal.items(room, &[first.item]).await.unwrap(), []);
        let changes = journal.changes(room, Seq::ZERO, usize::MAX).await.unwrap();
        assert_eq!(changes.entries, []);
        let log = journal.log(room, Seq::ZERO, usize::MAX).await.unwrap();
        assert_eq!(log.entries, [superseded(&first), emptied(&gone)]);
    }

    pub(super) async fn an_epoch_stays_until_it_is_changed_and_two_racers_change_it_once(
        store: &Store,
    ) {
        let (one, two) = (store.open().await, store.open().await);
        let known = one.heads(&[]).await.unwrap().epoch;
        assert_eq!(two.heads(&[]).await.unwrap().epoch, known);
        let (first, second) = tokio::join!(one.change_epoch(known), two.change_epoch(known));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first, second);
        assert_ne!(first, known);
        assert_eq!(one.change_epoch(known).await.unwrap(), first);
        assert_eq!(one.change_epoch(Epoch(1)).await.unwrap(), first);
        assert_eq!(store.open().await.heads(&[]).await.unwrap().epoch, first);
    }

    pub(super) async fn the_store_verifies_itself(store: &Store) {
        let journal = store.open().await;
        journal.verify().await.unwrap();
        for index in ["journal_operation", "journal_slot"] {
            store.drop_index(index).await;
            let error = journal.verify().await.unwrap_err().to_string();
            assert!(error.contains(index), "{error}");
        }
    }
}
