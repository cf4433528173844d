//! What earlier releases send over the backplane, read from their golden files in `compat/`.

use super::message::Message;
use crate::store::journal::Entry;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every message is read, and nothing of its content is lost.
#[test]
fn what_every_release_says_is_understood() {
    let mut count = 0;
    for folder in releases() {
        for text in said_by(&folder) {
            let Some(message) = Message::decode(text.as_bytes()) else {
                panic!("{} said what is not understood: {text}", folder.display());
            };
            let said: Value = serde_json::from_str(&text).unwrap();
            let understood = serde_json::to_value(&message).unwrap();
            assert!(
                holds(&understood, &said),
                "{said:#} is read as {understood:#}"
            );
            count += 1;
        }
    }
    assert!(count > 0, "no release has golden files");
}

/// A message that no golden file holds could change its form unnoticed.
#[test]
fn every_message_is_in_a_golden_file() {
    let said: Vec<_> = releases().iter().flat_map(|it| said_by(it)).collect();
    let names = said
        .iter()
        .filter_map(|text| Message::decode(text.as_bytes()));
    let names: BTreeSet<_> = names.map(|message| name(&message)).collect();
    let all = BTreeSet::from(["events", "presence", "awareness", "revoked", "beacon"]);
    assert_eq!(names, all, "cargo xtask compat write");
    let entries: Vec<Entry> = said.iter().flat_map(|text| entries(text)).collect();
    assert!(entries.iter().any(|entry| entry.op_id.is_some()));
}

/// A message that is added is to be recorded, too: see `tests/it/compat/record.rs`.
const fn name(message: &Message) -> &'static str {
    match message {
        Message::Events { .. } => "events",
        Message::Presence(_) => "presence",
        Message::Awareness(_) => "awareness",
        Message::Revoked(_) => "revoked",
        Message::Beacon(_) => "beacon",
    }
}

fn entries(text: &str) -> Vec<Entry> {
    match Message::decode(text.as_bytes()) {
        Some(Message::Events { entries, .. }) => entries,
        _ => Vec::new(),
    }
}

fn releases() -> Vec<PathBuf> {
    let compat = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../compat"));
    let entries = fs::read_dir(compat).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

fn said_by(release: &Path) -> Vec<String> {
    let golden = fs::read(release.join("cluster.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let messages = golden["bus"].as_array().unwrap();
    let text = |message: &Value| message["text"].as_str().unwrap().to_owned();
    messages.iter().map(text).collect()
}

/// Whether everything in `part` is in `whole`, which may have more.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(name, value)| {
            let found = whole.get(name).unwrap_or(&Value::Null);
            holds(found, value)
        }),
        (Value::Array(whole), Value::Array(part)) => {
            let pairs = whole.iter().zip(part);
            whole.len() == part.len() && pairs.into_iter().all(|(whole, part)| holds(whole, part))
        }
        _ => whole == part,
    }
}
