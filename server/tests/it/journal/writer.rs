//! A writer of the journal: it appends until it is done or killed, and reports the acknowledgements.

use super::{
    entries::{change, entry, open_gate},
    stores::Store,
};
use roost_schema::{OpId, RoomId, Seq, UserId};
use roost_server::store::journal::{Entry, Journal, JournalError, Stop};
use std::collections::{BTreeMap, BTreeSet};

/// The acknowledgement of one of a writer's operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) op_id: String,
    pub(super) seq: u64,
}

/// Appends `count` operations named after the writer, two at a time; every third changes an item of the writer's own.
/// After a lost race or an unknown outcome it reads, as a mailbox does: operations that the journal has are done, the
/// others are tried again on the new head.
pub(super) async fn write(
    journal: &dyn Journal,
    room: RoomId,
    name: &str,
    count: u64,
    mut acknowledge: impl FnMut(Ack),
) {
    let actor = UserId::generate();
    let mut head = read_head(journal, room).await;
    let mut own: Option<Entry> = None;
    let mut waiting: Vec<String> = (0..count)
        .rev()
        .map(|number| format!("{name}-{number}"))
        .collect();
    while !waiting.is_empty() {
        let mut batch: Vec<Entry> = Vec::new();
        for op_id in waiting.iter().rev().take(2) {
            let seq = head.0 + 1 + batch.len() as u64;
            let next = match &own {
                Some(own) if seq.is_multiple_of(3) => change(own, seq),
                _ => entry(room, seq),
            };
            let op_id = Some(OpId::from_kept(op_id.clone()));
            batch.push(Entry {
                actor,
                op_id,
                ..next
            });
        }
        let committed = match journal.append(room, &batch, &open_gate()).await {
            Ok(appended) => {
                if appended.stop.is_none() {
                    assert_eq!(appended.committed, batch.len());
                }
                assert_ne!(
                    appended.stop,
                    Some(Stop::OperationKnown),
                    "each was looked up"
                );
                batch.truncate(appended.committed);
                batch
            }
            Err(JournalError::OutcomeUnknown(_) | JournalError::Unavailable(_)) => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        for entry in &committed {
            let op_id = waiting.pop().unwrap();
            acknowledge(Ack {
                op_id,
                seq: entry.seq.0,
            });
        }
        own = committed.last().cloned().or(own);
        head = read_head(journal, room).await;
        let next: Vec<_> = waiting
            .iter()
            .rev()
            .take(2)
            .map(|op_id| (actor, OpId::from_kept(op_id.clone())))
            .collect();
        for found in journal.operations(room, &next).await.unwrap() {
            let op_id = found.op_id.unwrap().to_string();
            waiting.retain(|waiting| *waiting != op_id);
            acknowledge(Ack {
                op_id,
                seq: found.seq.0,
            });
        }
    }
}

async fn read_head(journal: &dyn Journal, room: RoomId) -> Seq {
    journal.heads(&[room]).await.unwrap().rooms[&room].head
}

/// Asserts that there are no gaps, that each operation is there once, each acknowledged one at its seq, and that
/// `changes` leads to the same state as the whole log.
pub(super) async fn assert_sound(store: &Store, room: RoomId, acknowledged: &[Ack]) -> Vec<Entry> {
    let journal = store.open().await;
    let log = journal.log(room, Seq::ZERO, usize::MAX).await.unwrap();
    assert!(!log.more);
    let log = log.entries;
    let mut operations = BTreeMap::new();
    for (entry, seq) in log.iter().zip(1..) {
        assert_eq!(entry.seq, Seq(seq), "a hole or a duplicate");
        let op_id = entry.op_id.as_ref().unwrap().to_string();
        let earlier = operations.insert(op_id, seq);
        assert_eq!(earlier, None, "an operation twice");
    }
    for ack in acknowledged {
        assert_eq!(operations.get(&ack.op_id), Some(&ack.seq), "lost: {ack:?}");
    }
    let newest: BTreeMap<_, _> = log.iter().map(|entry| (entry.item, entry.seq)).collect();
    let expected: BTreeSet<_> = newest.into_values().collect();
    let changes = journal
        .changes(room, Seq::ZERO, usize::MAX)
        .await
        .unwrap()
        .entries;
    let shown: BTreeSet<_> = changes.iter().map(|entry| entry.seq).collect();
    assert_eq!(shown, expected);
    log
}
