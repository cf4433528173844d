//! The name of the instance on each line of the log.

use super::*;
use std::{
    io::{Read, Seek},
    sync::Mutex,
};

#[test]
fn every_line_names_the_instance() {
    sign_logs("here".to_owned());
    for is_json in [true, false] {
        let mut file = tempfile::tempfile().unwrap();
        let builder = tracing_subscriber::fmt().with_writer(Mutex::new(file.try_clone().unwrap()));
        let log = || tracing::info!(answer = 42, "said");
        if is_json {
            let builder = builder.json().flatten_event(true);
            let signed = builder.map_event_format(|format| Signed { format, is_json });
            tracing::subscriber::with_default(signed.finish(), log);
        } else {
            let signed = builder.map_event_format(|format| Signed { format, is_json });
            tracing::subscriber::with_default(signed.finish(), log);
        }
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        if is_json {
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(line["instance"], "here", "{text}");
            assert_eq!(
                (&line["answer"], &line["message"]),
                (&42.into(), &"said".into())
            );
        } else {
            assert!(text.starts_with("here "), "{text}");
        }
    }
}
