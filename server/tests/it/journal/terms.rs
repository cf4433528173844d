//! The rows of terms on SQL: an item has rows of its present terms only.

use super::{
    entries::{append, change, deletion, entry, found_by, open_gate},
    finding::{found, trim_all},
    stores::Store,
};
use roost_schema::{RoomId, Seq};

on!([sqlite, postgres] rows:
    no_row_outlives_its_item,
    a_stale_row_finds_nothing_before_and_after_a_trim,
);

mod rows {
    use super::*;

    pub(super) async fn no_row_outlives_its_item(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let first = found_by(&["to:ann", "due:2026-12-01"], entry(room, 1));
        append(&*journal, std::slice::from_ref(&first)).await;
        let row = |term: &str| (term.to_owned(), room, Seq(1));
        assert_eq!(store.terms().await, [row("due:2026-12-01"), row("to:ann")]);
        append(
            &*journal,
            &[found_by(&["to:ann", "to:bob"], change(&first, 2))],
        )
        .await;
        assert_eq!(store.terms().await, [row("to:ann"), row("to:bob")]);
        append(&*journal, &[deletion(&first, 3)]).await;
        assert_eq!(store.terms().await, []);
        // A refused batch leaves no rows, either.
        let refused = found_by(&["to:ann"], entry(room, 9));
        let gate = open_gate();
        let appended = journal.append(room, &[refused], &gate).await.unwrap();
        assert_eq!(appended.committed, 0);
        assert_eq!(store.terms().await, []);
    }

    /// The rows and entries that an earlier release leaves, which knows no terms.
    pub(super) async fn a_stale_row_finds_nothing_before_and_after_a_trim(store: &Store) {
        let (journal, room) = (store.open().await, RoomId::generate());
        let edited = found_by(&["to:ann", "due:2026-12-01"], entry(room, 1));
        let ended = found_by(&["to:ann"], entry(room, 2));
        append(&*journal, &[edited.clone(), ended.clone()]).await;
        let kept = found_by(&["due:2026-12-01"], change(&edited, 3));
        append(&*journal, &[kept, deletion(&ended, 4)]).await;
        store.leave_terms(&edited).await;
        store.leave_found(&ended).await;
        for _ in 0..2 {
            assert_eq!(found(&*journal, room, "to:ann").await, [0_u64; 0]);
            assert_eq!(found(&*journal, room, "due:2026-12-01").await, [3]);
            journal.trim(trim_all()).await.unwrap();
        }
    }
}
