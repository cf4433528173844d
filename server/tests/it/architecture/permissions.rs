//! Use cases read the journal by a permission: a file of `app` that reads it otherwise is named.

use super::for_each_file;
use std::{fs, path::Path};

/// A file of use cases, and a text in it that reads a journal or takes a proof without a permission.
const UNPERMITTED: &[(&str, &str)] = &[
    (
        "app/rooms.rs",
        "self.store.journal.items(room, &[item]).await?",
    ),
    (
        "app/items/reading.rs",
        "let journal = &self\n    .store\n    .journal;",
    ),
];

#[test]
fn use_cases_read_the_journal_by_their_permission() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for_each_file(&source.join("app"), &mut |path| {
        let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        if reads_unpermitted(file, &text) {
            found.push(file.to_owned());
        }
    });
    assert!(
        found.is_empty(),
        "{found:?}: access.rs reads it, and asks for the proof"
    );
    for (file, text) in UNPERMITTED {
        assert!(reads_unpermitted(file, text), "{file}: {text}");
    }
    assert!(!reads_unpermitted(
        "app/upkeep.rs",
        "self.store.journal.heads(&[]).await?"
    ));
}

/// Whether a file reads entries without a permission. Only `access.rs` names the journal, and the upkeep of the stores,
/// which reads no entry.
fn reads_unpermitted(file: &str, text: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    !["app/access.rs", "app/upkeep.rs"].contains(&file)
        && text.contains("store.journal")
        && !text.contains("store.journal::")
}
