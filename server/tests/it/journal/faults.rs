//! Changes by a failing disk or a person, behind the journal's back: a thousand random faults, each noticed by the read
//! that meets it; the corrupt room in quarantine, the others as before; and the damage that only `roost journal verify`
//! finds.

use super::{
    entries::{append, change, deletion, entry, found_by, open_gate, run, superseded},
    finding::trim_all,
    images::{Cell, Image, Images, cell, seq},
    stores::Store,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use roost_schema::{Direction::Newer, Kind, RoomId, Seq};
use roost_server::store::journal::{
    Audited, Entry, FindQuery, FindRoom, Finding, Journal, JournalError, Page, QuarantiningJournal,
    audit, audit_all,
};
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, sleep};

on!([sqlite, postgres, mongo] contract:
    a_thousand_faults_are_noticed_before_delivery,
    a_corrupt_room_is_in_quarantine_alone_until_it_is_mended,
    verify_finds_what_no_read_meets,
    verify_finds_what_is_gone,
    an_entry_without_a_seal_passes_and_is_counted,
);

const FAULTS: usize = 1_000;
/// Every fault is read by a log, and one in this many by all other reads, too.
const OTHER_READS_EVERY: usize = 8;
const ALL_BYTES: usize = usize::MAX / 2;

/// A room with all sorts of entries: edits, a deletion, terms, emptied entries, an op of another release.
async fn furnished(journal: &dyn Journal) -> RoomId {
    let room = RoomId::generate();
    let mut old = run(room, 1, 6);
    old.push(change(&old[0], 7));
    old.push(deletion(&old[1], 8));
    append(journal, &old).await;
    journal.trim(trim_all()).await.unwrap();
    let first = found_by(&["to:ann", "due:2026-12-01"], entry(room, 9));
    let second = found_by(&["to:ann"], entry(room, 10));
    let foreign = Entry {
        op: "append".into(),
        ..change(&second, 11)
    };
    append(journal, &[first.clone(), second.clone(), foreign]).await;
    append(
        journal,
        &[
            found_by(&["to:bob"], change(&first, 12)),
            deletion(&second, 13),
        ],
    )
    .await;
    append(journal, &run(room, 14, 7)).await;
    room
}

/// Reads the whole log. A store that is busy with other tests may be asked again, because only its content matters
/// here.
async fn read_log(journal: &dyn Journal, room: RoomId) -> Result<Page, JournalError> {
    for _ in 0..5 {
        match journal.log(room, Seq::ZERO, ALL_BYTES).await {
            Err(JournalError::Unavailable(_)) => {}
            answer => return answer,
        }
    }
    journal.log(room, Seq::ZERO, ALL_BYTES).await
}

/// The results of all reads, or their first errors.
async fn read_all(
    journal: &dyn Journal,
    room: RoomId,
    log: &[Entry],
) -> Vec<Result<Vec<Entry>, JournalError>> {
    let items: Vec<_> = log.iter().map(|entry| entry.item).collect();
    let operations: Vec<_> = log
        .iter()
        .filter_map(|entry| Some((entry.actor, entry.op_id.clone()?)))
        .collect();
    let in_room = FindRoom { room, beyond: None };
    let found = journal.find_in(in_room, FindQuery::all(Kind::Message, Newer, 100));
    vec![
        journal
            .log(room, Seq::ZERO, ALL_BYTES)
            .await
            .map(|page| page.entries),
        journal
            .changes(room, Seq::ZERO, ALL_BYTES)
            .await
            .map(|page| page.entries),
        found.await.map(|page| page.entries),
        journal.items(room, &items).await,
        journal.operations(room, &operations).await,
    ]
}

mod contract {
    use super::*;

    pub(super) async fn a_thousand_faults_are_noticed_before_delivery(store: &Store) {
        let journal = store.open().await;
        let (room, other) = (furnished(&*journal).await, furnished(&*journal).await);
        let log = journal
            .log(room, Seq::ZERO, ALL_BYTES)
            .await
            .unwrap()
            .entries;
        let other_log = journal.log(other, Seq::ZERO, ALL_BYTES).await.unwrap();
        let images = Images::of(store).await;
        let kept = images.read(room).await;
        let mut random = StdRng::seed_from_u64(7);
        let mut noticed: HashMap<String, usize> = HashMap::new();
        for number in 0..FAULTS {
            let (name, old, new) = fault(&kept, &mut random);
            images.replace(&old, &new).await;
            let whole = read_log(&*journal, room).await;
            let is_noticed =
                matches!(&whole, Err(JournalError::Corrupt { room: of, .. }) if *of == room);
            assert!(
                is_noticed,
                "fault {number} ({name}) passes: {old:?} became {new:?}: {whole:?}"
            );
            if number.is_multiple_of(OTHER_READS_EVERY) {
                for entry in read_all(&*journal, room, &log)
                    .await
                    .into_iter()
                    .flatten()
                    .flatten()
                {
                    assert!(
                        log.contains(&entry),
                        "fault {number} ({name}) was delivered: {entry:?}"
                    );
                }
                let beside = read_log(&*journal, other).await.unwrap();
                assert_eq!(beside, other_log);
            }
            images.replace(&new, &old).await;
            *noticed.entry(name).or_default() += 1;
        }
        assert_eq!(images.read(room).await, kept);
        assert_eq!(
            journal
                .log(room, Seq::ZERO, ALL_BYTES)
                .await
                .unwrap()
                .entries,
            log
        );
        let mut noticed: Vec<_> = noticed.into_iter().collect();
        noticed.sort();
        println!("{FAULTS} faults, each noticed: {noticed:?}");
    }

    pub(super) async fn a_corrupt_room_is_in_quarantine_alone_until_it_is_mended(store: &Store) {
        let journal = QuarantiningJournal::wrap(store.open().await);
        let (room, other) = (furnished(&*journal).await, furnished(&*journal).await);
        let images = Images::of(store).await;
        let sound = images.read(room).await[13].clone();
        let mut corrupt = sound.clone();
        flip(cell(&mut corrupt, "body"), &mut StdRng::seed_from_u64(1));
        images
            .replace(std::slice::from_ref(&sound), std::slice::from_ref(&corrupt))
            .await;
        // Reads that do not include the corrupt entry succeed, until one has met it.
        journal.log(room, Seq(14), ALL_BYTES).await.unwrap();
        let met = journal.changes(room, Seq::ZERO, ALL_BYTES).await;
        assert!(
            matches!(met, Err(JournalError::Corrupt { seq: Seq(14), .. })),
            "{met:?}"
        );
        let log = journal
            .log(other, Seq::ZERO, ALL_BYTES)
            .await
            .unwrap()
            .entries;
        let is_refused = |error: Option<JournalError>| matches!(error, Some(JournalError::Corrupt { room: of, .. }) if of == room);
        for read in read_all(&*journal, room, &log).await {
            assert!(is_refused(read.err()));
        }
        let written = journal.append(room, &[entry(room, 21)], &open_gate()).await;
        assert!(is_refused(written.err()));
        assert!(is_refused(
            journal.log(room, Seq(14), ALL_BYTES).await.err()
        ));
        let rooms = [
            FindRoom {
                room: other,
                beyond: None,
            },
            FindRoom { room, beyond: None },
        ];
        let found = journal
            .find(&rooms, FindQuery::all(Kind::Message, Newer, 1))
            .await;
        assert!(is_refused(found.err()));
        for read in read_all(&*journal, other, &log).await {
            read.unwrap();
        }
        append(&*journal, &[entry(other, 21)]).await;
        images.replace(&[corrupt], &[sound]).await;
        let deadline = Instant::now() + Duration::from_secs(25);
        while let Err(error) = journal.log(room, Seq::ZERO, ALL_BYTES).await {
            assert!(Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(100)).await;
        }
        append(&*journal, &[entry(room, 21)]).await;
    }

    pub(super) async fn verify_finds_what_no_read_meets(store: &Store) {
        let journal = store.open().await;
        furnished(&*journal).await;
        let room = furnished(&*journal).await;
        let images = Images::of(store).await;
        let kept = images.read(room).await;
        assert_eq!(findings(&*journal).await.0, []);
        let current = if store.is_sql() {
            "is_current"
        } else {
            "current"
        };
        let operation = if store.is_sql() { "op_id" } else { "operation" };
        let set = |column: &'static str, value: Cell| {
            move |image: &mut Image| *cell(image, column) = value
        };
        // For each fault: the entry, its change, and the problem that is reported.
        let table: [(&str, u64, Change, &str); 4] = [
            (
                "the newest entry is not marked so",
                14,
                Box::new(set(current, Cell::Flag(false))),
                "not marked current",
            ),
            (
                "an operation id",
                15,
                Box::new(|image: &mut Image| rename(cell(image, operation))),
                "content",
            ),
            (
                "a kind",
                16,
                Box::new(set("kind", Cell::Text(Some("message2".to_owned())))),
                "not the row",
            ),
            (
                "an op",
                12,
                Box::new(set("op", Cell::Text(Some("delete".to_owned())))),
                "not the row",
            ),
        ];
        for (what, at, change, said) in table {
            let old = kept[usize::try_from(at).unwrap() - 1].clone();
            let mut new = old.clone();
            change(&mut new);
            images
                .replace(std::slice::from_ref(&old), std::slice::from_ref(&new))
                .await;
            let (found, _) = findings(&*journal).await;
            images.replace(&[new], &[old]).await;
            println!("verify | {what} | {found:?}");
            assert!(
                found
                    .iter()
                    .any(|it| it.seq == Seq(at) && it.problem.contains(said)),
                "{what}: {found:?}"
            );
            assert!(found.iter().all(|it| it.room == room));
        }
    }

    pub(super) async fn verify_finds_what_is_gone(store: &Store) {
        let journal = store.open().await;
        let (other, room) = (furnished(&*journal).await, furnished(&*journal).await);
        let images = Images::of(store).await;
        let kept = images.read(room).await;
        // Rows that are missing below the head, and one that is wrongly marked current.
        images.replace(&kept[14..16], &[]).await;
        let (found, audited) = findings(&*journal).await;
        assert_eq!(
            found.iter().map(|it| it.seq.0).collect::<Vec<_>>(),
            [15, 16]
        );
        assert_eq!((audited.rooms, audited.left_current), (2, 0));
        images.replace(&[], &kept[14..16]).await;
        store.leave_current(room, Seq(9)).await;
        let (found, audited) = findings(&*journal).await;
        assert_eq!((found, audited.left_current), (Vec::new(), 1));
        // Nothing is left that shows that the last entries were cut off.
        store.take_back(other, Seq(18)).await;
        assert_eq!(findings(&*journal).await.0, []);
        if store.is_sql() {
            store.forget_terms().await;
            let (found, _) = findings(&*journal).await;
            assert!(
                found
                    .iter()
                    .any(|it| it.seq == Seq(12) && it.problem.contains("to:bob")),
                "{found:?}"
            );
        }
    }

    pub(super) async fn an_entry_without_a_seal_passes_and_is_counted(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let (first, second) = (entry(room, 1), entry(room, 2));
        let third = change(&first, 3);
        store.plant(&first).await;
        append(&*journal, &[second.clone(), third.clone()]).await;
        let log = journal.log(room, Seq::ZERO, ALL_BYTES).await.unwrap();
        assert_eq!(log.entries, [superseded(&first), second, third]);
        let audited = audit(&*journal, room, |finding| panic!("{finding:?}"))
            .await
            .unwrap();
        assert_eq!((audited.rooms, audited.entries), (1, 3));
        assert!(audited.unsealed >= 1);
    }
}

type Change = Box<dyn FnOnce(&mut Image)>;

async fn findings(journal: &dyn Journal) -> (Vec<Finding>, Audited) {
    let mut found = Vec::new();
    let audited = audit_all(journal, |finding| found.push(finding))
        .await
        .unwrap();
    found.sort_by_key(|finding| finding.seq);
    (found, audited)
}

/// Replaces the operation id by another one of the same person.
fn rename(operation: &mut Cell) {
    let Cell::Text(Some(text)) = operation else {
        panic!("no operation id: {operation:?}");
    };
    text.pop();
    text.push('#');
}

/// A random fault in one or two entries of a room: its name, the old images and the new ones. The last entry is never
/// lost, because that cannot be noticed.
fn fault(kept: &[Image], random: &mut StdRng) -> (String, Vec<Image>, Vec<Image>) {
    loop {
        let (at, beside) = (
            random.random_range(0..kept.len() - 1),
            random.random_range(0..kept.len() - 1),
        );
        let (one, two) = (kept[at].clone(), kept[beside].clone());
        let (name, old, new) = match random.random_range(0..10) {
            0 => ("hole".to_owned(), vec![one], vec![]),
            1 if at != beside => {
                let new = swapped(&one, &two, &["seq", "_id"]);
                ("swapped rows".to_owned(), vec![one, two], new)
            }
            2 if at != beside => {
                let new = swapped(&one, &two, &["body", "size_bytes"]);
                ("swapped bodies".to_owned(), vec![one, two], new)
            }
            3 if at != beside => {
                let columns = ["body", "size_bytes", "salt", "body_hash", "bodyHash"];
                let new = swapped(&one, &two, &columns);
                ("swapped bodies and seals".to_owned(), vec![one, two], new)
            }
            _ => match flipped(&one, random) {
                Some((name, new)) => (name, vec![one], vec![new]),
                None => continue,
            },
        };
        let is_taken = |image: &Image| {
            new.len() == 1
                && seq(image) != seq(&old[0])
                && kept.iter().any(|it| seq(it) == seq(image))
        };
        if old != new && !new.iter().any(is_taken) {
            return (name, old, new);
        }
    }
}

/// Both entries, with the values of some columns exchanged.
fn swapped(one: &Image, two: &Image, columns: &[&str]) -> Vec<Image> {
    let exchange = |into: &Image, from: &Image| {
        let value = |(name, cell): &(String, Cell)| {
            let other = from
                .iter()
                .find(|(of, _)| of == name && columns.contains(&name.as_str()));
            (name.clone(), other.map_or(cell, |(_, cell)| cell).clone())
        };
        into.iter().map(value).collect()
    };
    vec![exchange(one, two), exchange(two, one)]
}

/// Flips one bit of one covered column.
fn flipped(image: &Image, random: &mut StdRng) -> Option<(String, Image)> {
    let mut image = image.clone();
    let is_emptied = image
        .iter()
        .any(|(name, cell)| name == "salt" && *cell == Cell::Bytes(None))
        || !image.iter().any(|(name, _)| name == "salt");
    // No seal covers the mark of the current entry, nor the columns of an emptied entry that are not delivered.
    let not_covered: &[&str] = if is_emptied {
        &[
            "is_current",
            "current",
            "request_hash",
            "hash",
            "size_bytes",
            "operation",
        ]
    } else {
        &["is_current", "current"]
    };
    let covered: Vec<_> = image
        .iter()
        .filter(|(name, cell)| {
            !not_covered.contains(&name.as_str())
                && !matches!(cell, Cell::Text(None) | Cell::Bytes(None))
        })
        .map(|(name, _)| name.clone())
        .collect();
    let column = covered.choose(random)?.clone();
    flip(cell(&mut image, &column), random);
    Some((column, image))
}

fn flip(cell: &mut Cell, random: &mut StdRng) {
    match cell {
        Cell::Int(number) => *number ^= 1 << random.random_range(0..40),
        Cell::Flag(flag) => *flag = !*flag,
        Cell::Id(id) => {
            let mut bytes = *id.as_bytes();
            bytes[random.random_range(0..16)] ^= 1 << random.random_range(0..8);
            *id = uuid::Uuid::from_bytes(bytes);
        }
        Cell::Text(text) => flip_text(text.as_mut().unwrap(), random),
        Cell::Texts(texts) => {
            let place = random.random_range(0..texts.len());
            flip_text(&mut texts[place], random);
        }
        Cell::Bytes(bytes) => {
            let bytes = bytes.as_mut().unwrap();
            let place = random.random_range(0..bytes.len());
            bytes[place] ^= 1 << random.random_range(0..8);
        }
    }
}

/// The result stays valid text, which every store accepts.
fn flip_text(text: &mut String, random: &mut StdRng) {
    let place = random.random_range(0..text.len());
    let mut bytes = std::mem::take(text).into_bytes();
    let flipped = bytes[place] ^ (1 << random.random_range(0..7));
    bytes[place] = if flipped == 0 { b'~' } else { flipped };
    *text = String::from_utf8(bytes).unwrap();
}
