//! What a seal reveals, that its hashes stay the same, and what it costs.

use super::*;
use crate::store::{
    Sql,
    journal::{Gate, Journal, OpenGate, SqlJournal},
};
use chrono::DateTime;
use roost_schema::{Body, ItemId, Kind, Op, Seq, UserId};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A message of ordinary length.
fn entry(room: RoomId, seq: u64) -> Entry {
    let item = ItemId::generate();
    Entry {
        room,
        seq: Seq(seq),
        item,
        kind: Kind::Message,
        op: Op::Put,
        body: Body::from_text(format!("{{\"text\":\"{}\"}}", "word ".repeat(40))).unwrap(),
        actor: UserId::generate(),
        op_id: Some(OpId::from_kept(item.to_string())),
        request_hash: RequestHash([7; 32]),
        asked_hash: Some(RequestHash([8; 32])),
        at: DateTime::from_timestamp_millis(1_796_000_000_000).unwrap(),
        born: Seq(seq),
        terms: Terms::default(),
        current: true,
    }
}

fn holds(entry: &Entry, seal: &Seal) -> bool {
    let kept = KeptSeal {
        salt: Some(seal.salt.to_vec()),
        body_hash: Some(seal.body_hash.to_vec()),
        row_hash: Some(seal.row_hash.to_vec()),
    };
    let (row, content) = (Row::of(entry), Content::of(entry));
    kept.check(&row, Some(&content)).is_ok() && kept.check(&row, None).is_ok()
}

#[test]
fn two_seals_of_one_entry_tell_nothing_of_each_other() {
    let entry = entry(RoomId::generate(), 1);
    let (one, two) = (Seal::of(&entry), Seal::of(&entry));
    assert!(holds(&entry, &one) && holds(&entry, &two));
    assert_ne!(one.body_hash, two.body_hash);
    assert_ne!(one.row_hash, two.row_hash);
}

/// Stored entries have these hashes: another way to compute them would refuse every row.
#[test]
fn the_hashes_stay_as_they_are() {
    let entry = Entry {
        room: RoomId::from_uuid(Uuid::from_u128(1)),
        item: ItemId::from_uuid(Uuid::from_u128(2)),
        actor: UserId::from_uuid(Uuid::from_u128(3)),
        op_id: Some(OpId::from_kept("op".to_owned())),
        terms: Terms::new(["to:ann".parse().unwrap()]),
        ..entry(RoomId::generate(), 1)
    };
    let seal = Seal::with_salt(&entry, [5; HASH_BYTES]);
    assert_eq!(
        (hex::encode(seal.body_hash), hex::encode(seal.row_hash)),
        (BODY_HASH.to_owned(), ROW_HASH.to_owned())
    );
}

const BODY_HASH: &str = "09d64473bb7b2faf283fbc6f92aa9bef";
const ROW_HASH: &str = "c0b3c5929c06311e3def11f7c3aeddc7";

/// Prints the share of an append that sealing takes, on the store with the cheapest append.
#[tokio::test]
async fn what_a_seal_costs_of_an_append() {
    const APPENDS: u32 = 200;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roost.db");
    let sql = Sql::connect(&format!("sqlite://{}?mode=rwc", file.display()))
        .await
        .unwrap();
    sql.migrate().await.unwrap();
    let tasks = TaskTracker::new();
    let journal = SqlJournal::open(sql, &tasks, CancellationToken::new())
        .await
        .unwrap();
    let gate: Arc<dyn Gate> = Arc::new(OpenGate);
    for entries in [1, 64] {
        let room = RoomId::generate();
        let (mut appending, mut sealing) = (Duration::ZERO, Duration::ZERO);
        for number in 0..APPENDS {
            let first = u64::from(number) * entries + 1;
            let batch: Vec<_> = (first..first + entries)
                .map(|seq| entry(room, seq))
                .collect();
            let begun = Instant::now();
            let appended = journal.append(room, &batch, &gate).await.unwrap();
            appending += begun.elapsed();
            assert_eq!(appended.stop, None);
            let begun = Instant::now();
            let seals: Vec<_> = batch.iter().map(Seal::of).collect();
            sealing += begun.elapsed();
            assert_eq!(seals.len(), batch.len());
        }
        println!(
            "{entries} entries: an append takes {:?}, sealing them {:?}: {:.2} %",
            appending / APPENDS,
            sealing / APPENDS,
            100.0 * sealing.as_secs_f64() / appending.as_secs_f64()
        );
    }
}
