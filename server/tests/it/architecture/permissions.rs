//! Use cases reach the journal and live rooms by a permission: a file of `app` that reaches them otherwise is named.

use super::for_each_file;
use std::{fs, path::Path};

/// A file of use cases, and a text in it that reaches a journal or a live room without a proof of permission.
const UNPERMITTED: &[(&str, &str)] = &[
    (
        "app/rooms.rs",
        "self.store.journal.items(room, &[item]).await?",
    ),
    (
        "app/items/reading.rs",
        "let journal = &self\n    .store\n    .journal;",
    ),
    (
        "app/events.rs",
        "self.live.room(room).watch(actor.user_id, None).await?",
    ),
    (
        "app/items/reading.rs",
        "let live = &self.live;\nlive\n    .room(room)",
    ),
    (
        "app/presence.rs",
        "self.live.active_room(room).is_some_and(|room| show(&room))",
    ),
    ("app/outbox.rs", "self.live.active_room(room)"),
];

#[test]
fn use_cases_reach_journals_and_live_rooms_by_their_permission() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for_each_file(&source.join("app"), &mut |path| {
        let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        if reaches_unpermitted(file, &text) {
            found.push(file.to_owned());
        }
    });
    assert!(
        found.is_empty(),
        "{found:?}: app/access reaches it, and asks for the proof"
    );
    for (file, text) in UNPERMITTED {
        assert!(reaches_unpermitted(file, text), "{file}: {text}");
    }
    assert!(!reaches_unpermitted(
        "app/upkeep.rs",
        "self.store.journal.heads(&[]).await?"
    ));
    assert!(!reaches_unpermitted(
        "app/outbox.rs",
        "self.live.room(room).write(entry_of(row)).await"
    ));
}

/// Whether a file reaches entries or a live room without a permission. Outside `app/access` only the upkeep of the stores
/// names the journal, and reads no entry; only the relay of the outbox names a live room, and writes what the store decided.
fn reaches_unpermitted(file: &str, text: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    let names_journal = text.contains("store.journal") && !text.contains("store.journal::");
    let names_room = text.contains("live.room(");
    let names_active_room = text.contains("live.active_room(");
    !file.starts_with("app/access/")
        && (names_journal && file != "app/upkeep.rs"
            || names_room && file != "app/outbox.rs"
            || names_active_room)
}
