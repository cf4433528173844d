//! The promises of `find`: an item is found by the terms of its newest entry only, in each of the requested rooms.

use super::{
    entries::{append, body, change, deletion, entry, found_by, now, seqs},
    stores::Store,
};
use chrono::Duration;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use roost_schema::{Direction, Kind, Op, RoomId, Seq};
use roost_server::store::journal::{
    Entry, FIND_BYTES_MAX, FIND_ROOMS_MAX, FindQuery, FindRoom, Journal, Page, Trim,
};
use std::collections::BTreeMap;

on!([sqlite, postgres, mongo] contract:
    an_item_is_found_by_the_terms_of_its_newest_entry,
    of_two_entries_in_one_batch_the_later_says_what_finds,
    an_older_entry_that_was_left_current_finds_nothing,
    each_room_answers_its_own_first,
    so_many_rooms_and_no_more,
    a_room_answers_within_its_share_of_bytes,
    finding_agrees_with_a_plain_list,
    terms_of_a_later_release_are_kept,
);

fn by(term: &str) -> FindQuery {
    FindQuery {
        term: Some(term.parse().unwrap()),
        ..FindQuery::all(Kind::Message, Direction::Newer, 100)
    }
}

pub(super) async fn found(journal: &dyn Journal, room: RoomId, term: &str) -> Vec<u64> {
    let all = FindRoom { room, beyond: None };
    let page = journal.find_in(all, by(term)).await.unwrap();
    assert!(!page.more);
    seqs(&page.entries)
}

/// Bounds that trim everything.
pub(super) fn trim_all() -> Trim {
    Trim {
        superseded_before: now() + Duration::hours(1),
        tombstones_before: now() + Duration::hours(1),
    }
}

mod contract {
    use super::*;

    pub(super) async fn an_item_is_found_by_the_terms_of_its_newest_entry(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let first = found_by(&["to:ann", "due:2026-12-01"], entry(room, 1));
        let other = found_by(&["to:ann"], entry(room, 2));
        append(&*journal, &[first.clone(), other.clone()]).await;
        let read = journal.items(room, &[first.item]).await.unwrap();
        assert_eq!(read, std::slice::from_ref(&first));
        assert_eq!(found(&*journal, room, "to:ann").await, [1, 2]);
        assert_eq!(found(&*journal, room, "due:2026-12-01").await, [1]);
        assert_eq!(found(&*journal, room, "to:bob").await, [0_u64; 0]);
        assert_eq!(found(&*journal, room, "to:an").await, [0_u64; 0]);
        assert_eq!(
            found(&*journal, RoomId::generate(), "to:ann").await,
            [0_u64; 0]
        );
        // The room has no items of another kind.
        let polls = FindQuery {
            kind: Kind::from("poll"),
            ..by("to:ann")
        };
        let all = FindRoom { room, beyond: None };
        let page = journal.find_in(all, polls).await.unwrap();
        assert_eq!(seqs(&page.entries), [0_u64; 0]);

        let edited = found_by(&["to:bob", "due:2026-12-01"], change(&first, 3));
        append(&*journal, &[edited]).await;
        assert_eq!(found(&*journal, room, "to:ann").await, [2]);
        assert_eq!(found(&*journal, room, "to:bob").await, [3]);
        assert_eq!(found(&*journal, room, "due:2026-12-01").await, [3]);

        append(&*journal, &[deletion(&first, 4)]).await;
        assert_eq!(found(&*journal, room, "to:bob").await, [0_u64; 0]);
        assert_eq!(found(&*journal, room, "due:2026-12-01").await, [0_u64; 0]);

        // An item that is put again keeps its place in the order.
        append(&*journal, &[found_by(&["to:ann"], change(&first, 5))]).await;
        assert_eq!(found(&*journal, room, "to:ann").await, [5, 2]);
        journal.trim(trim_all()).await.unwrap();
        assert_eq!(found(&*journal, room, "to:ann").await, [5, 2]);
    }

    pub(super) async fn of_two_entries_in_one_batch_the_later_says_what_finds(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let first = found_by(&["to:ann"], entry(room, 1));
        let second = found_by(&["to:bob"], change(&first, 2));
        append(&*journal, &[first.clone(), second]).await;
        assert_eq!(found(&*journal, room, "to:ann").await, [0_u64; 0]);
        assert_eq!(found(&*journal, room, "to:bob").await, [2]);
        let third = found_by(&["to:cleo"], change(&first, 3));
        let fourth = found_by(&["to:bob"], change(&first, 4));
        append(&*journal, &[third, fourth, deletion(&entry(room, 9), 5)]).await;
        assert_eq!(found(&*journal, room, "to:cleo").await, [0_u64; 0]);
        assert_eq!(found(&*journal, room, "to:bob").await, [4]);
        let fifth = found_by(&["to:dora"], change(&first, 6));
        append(&*journal, &[fifth, deletion(&first, 7)]).await;
        for gone in ["to:bob", "to:dora"] {
            assert_eq!(found(&*journal, room, gone).await, [0_u64; 0], "{gone}");
        }
    }

    pub(super) async fn an_older_entry_that_was_left_current_finds_nothing(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let first = found_by(&["to:ann", "due:2026-12-01"], entry(room, 1));
        let other = found_by(&["to:ann"], entry(room, 2));
        append(&*journal, &[first.clone(), other.clone()]).await;
        let edited = found_by(&["to:bob", "due:2026-12-01"], change(&first, 3));
        append(&*journal, &[edited, deletion(&other, 4)]).await;
        store.leave_found(&first).await;
        store.leave_found(&other).await;
        assert_eq!(found(&*journal, room, "to:ann").await, [0_u64; 0]);
        assert_eq!(found(&*journal, room, "to:bob").await, [3]);
        assert_eq!(found(&*journal, room, "due:2026-12-01").await, [3]);
        // The stale row does not hide the next entry's term, either.
        append(&*journal, &[found_by(&["to:ann"], change(&first, 5))]).await;
        assert_eq!(found(&*journal, room, "to:ann").await, [5]);
        assert_eq!(found(&*journal, room, "to:bob").await, [0_u64; 0]);
        journal.trim(trim_all()).await.unwrap();
        assert_eq!(found(&*journal, room, "to:ann").await, [5]);
    }

    pub(super) async fn each_room_answers_its_own_first(store: &Store) {
        let journal = store.open().await;
        let rooms: Vec<_> = (0..4).map(|_| RoomId::generate()).collect();
        for (room, count) in rooms.iter().zip([5, 0, 2, 9]) {
            for seq in 1..=count {
                let terms: &[&str] = if seq == 4 { &[] } else { &["to:ann"] };
                append(&*journal, &[found_by(terms, entry(*room, seq))]).await;
            }
        }
        let ask = async |beyond: [Option<u64>; 4], query: FindQuery| {
            let asked: Vec<_> = rooms.iter().zip(beyond).collect();
            let asked: Vec<_> = asked
                .into_iter()
                .map(|(room, beyond)| FindRoom {
                    room: *room,
                    beyond: beyond.map(Seq),
                })
                .collect();
            let pages = journal.find(&asked, query).await.unwrap();
            let page = |page: &Page| (seqs(&page.entries), page.more);
            pages.iter().map(page).collect::<Vec<_>>()
        };
        let three = |direction| FindQuery {
            direction,
            limit_items: 3,
            ..by("to:ann")
        };
        let none = || (vec![], false);
        assert_eq!(
            ask([None; 4], three(Direction::Newer)).await,
            [
                (vec![1, 2, 3], true),
                none(),
                (vec![1, 2], false),
                (vec![1, 2, 3], true)
            ]
        );
        assert_eq!(
            ask([None; 4], three(Direction::Older)).await,
            [
                (vec![5, 3, 2], true),
                none(),
                (vec![2, 1], false),
                (vec![9, 8, 7], true)
            ]
        );
        assert_eq!(
            ask([Some(3), Some(7), None, Some(6)], three(Direction::Newer)).await,
            [
                (vec![5], false),
                none(),
                (vec![1, 2], false),
                (vec![7, 8, 9], false)
            ]
        );
        let every = FindQuery::all(Kind::Message, Direction::Newer, 3);
        assert_eq!(
            ask([Some(3), None, None, Some(5)], every).await,
            [
                (vec![4, 5], false),
                none(),
                (vec![1, 2], false),
                (vec![6, 7, 8], true)
            ]
        );
    }

    pub(super) async fn so_many_rooms_and_no_more(store: &Store) {
        let journal = store.open().await;
        let rooms = [RoomId::generate()];
        assert!(journal.find(&[], by("to:ann")).await.unwrap().is_empty());
        let too_many = vec![
            FindRoom {
                room: rooms[0],
                beyond: None
            };
            FIND_ROOMS_MAX + 1
        ];
        journal.find(&too_many, by("to:ann")).await.unwrap_err();
    }

    pub(super) async fn a_room_answers_within_its_share_of_bytes(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let large = body(&format!("\"{}\"", "x".repeat(FIND_BYTES_MAX / 4)));
        for seq in 1..=5 {
            let entry = Entry {
                body: large.clone(),
                ..found_by(&["to:ann"], entry(room, seq))
            };
            append(&*journal, &[entry]).await;
        }
        let all = FindRoom { room, beyond: None };
        let alone = journal.find_in(all, by("to:ann")).await.unwrap();
        assert_eq!((seqs(&alone.entries), alone.more), (vec![1, 2, 3], true));
        // A page has at least one item, however small its room's share is.
        let others = (0..9).map(|_| FindRoom {
            room: RoomId::generate(),
            beyond: None,
        });
        let rooms: Vec<_> = others.chain([all]).collect();
        for query in [
            by("to:ann"),
            FindQuery::all(Kind::Message, Direction::Newer, 9),
        ] {
            let pages = journal.find(&rooms, query).await.unwrap();
            let last = pages.last().unwrap();
            assert_eq!((seqs(&last.entries), last.more), (vec![1], true));
        }
    }

    /// Random edits, deletions and puts, in batches, through two journals of the store, with a trim now and then.
    pub(super) async fn finding_agrees_with_a_plain_list(store: &Store) {
        const TERMS: [&str; 5] = ["to:ann", "to:bob", "due:2026-12-01", "on:x", "mention:ann"];
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let journals = [store.open().await, store.open().await];
        let room = RoomId::generate();
        let mut newest: BTreeMap<Seq, Entry> = BTreeMap::new();
        let mut head = 0;
        for round in 0..60 {
            let mut batch = Vec::new();
            for _ in 0..random.random_range(1..=4) {
                head += 1;
                let living: Vec<_> = newest.values().cloned().collect();
                let terms: Vec<_> = TERMS
                    .into_iter()
                    .filter(|_| random.random_bool(0.4))
                    .collect();
                let next = match living.choose(&mut random) {
                    Some(known) if random.random_bool(0.2) => deletion(known, head),
                    Some(known) if random.random_bool(0.6) => found_by(&terms, change(known, head)),
                    _ => found_by(&terms, entry(room, head)),
                };
                newest.insert(next.born, next.clone());
                batch.push(next);
            }
            let journal = journals.choose(&mut random).unwrap();
            append(&**journal, &batch).await;
            if round % 20 == 19 {
                let superseded_only = Trim {
                    tombstones_before: now() - Duration::hours(1),
                    ..trim_all()
                };
                journal.trim(superseded_only).await.unwrap();
            }
        }
        for term in TERMS {
            let expected: Vec<_> = newest
                .values()
                .filter(|entry| entry.op == Op::Put)
                .filter(|entry| entry.terms.iter().any(|named| named.as_str() == term))
                .cloned()
                .collect();
            assert_eq!(
                paged(&*journals[0], room, by(term)).await,
                expected,
                "{term}"
            );
            let back = FindQuery {
                direction: Direction::Older,
                limit_items: 3,
                ..by(term)
            };
            let mut read = paged(&*journals[1], room, back).await;
            read.reverse();
            assert_eq!(read, expected, "{term}");
        }
    }

    /// Everything that a query finds, page by page.
    async fn paged(journal: &dyn Journal, room: RoomId, query: FindQuery) -> Vec<Entry> {
        let (mut read, mut beyond): (Vec<Entry>, _) = (Vec::new(), None);
        loop {
            let asked = FindRoom { room, beyond };
            let page = journal.find_in(asked, query.clone()).await.unwrap();
            beyond = page.entries.last().map(|entry| entry.born);
            read.extend(page.entries);
            if !page.more {
                return read;
            }
        }
    }

    pub(super) async fn terms_of_a_later_release_are_kept(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let terms = r#"["later:thing with \"quotes\", blanks and \u00e9","odd"]"#;
        let odd = Entry {
            terms: serde_json::from_str(terms).unwrap(),
            ..entry(room, 1)
        };
        append(&*journal, std::slice::from_ref(&odd)).await;
        let read = journal.items(room, &[odd.item]).await.unwrap();
        assert_eq!(read, std::slice::from_ref(&odd));
        append(&*journal, &[deletion(&odd, 2)]).await;
        if store.is_sql() {
            assert!(store.terms().await.is_empty());
        }
    }
}
