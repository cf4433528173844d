//! Texts that name a session, and texts that were changed.

use super::*;

#[test]
fn a_token_names_its_session_and_generation_under_its_sessions_key() {
    let (key, session) = (TokenKey::generate(), SessionId::generate());
    let text = compose(&key, session, 7, &[3; SECRET_BYTES]);
    assert_eq!(text.expose().len(), TEXT_CHARS);
    let named = Named::read(text.expose()).unwrap();
    assert_eq!((named.session, named.generation), (session, 7));
    assert!(named.is_of(&key));
    assert!(!named.is_of(&TokenKey::generate()));
    assert_eq!(format!("{key:?}"), "***");
}

#[test]
fn a_changed_token_is_nobodys() {
    let (key, session) = (TokenKey::generate(), SessionId::generate());
    let text = compose(&key, session, 7, &[3; SECRET_BYTES]);
    let bytes = BASE64URL.decode(text.expose()).unwrap();
    for changed in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[changed] ^= 1;
        let named = Named::read(&BASE64URL.encode(bytes));
        assert!(
            named.is_none_or(|named| !named.is_of(&key)),
            "byte {changed}"
        );
    }
    for other in ["", "made up", &"A".repeat(43), &"!".repeat(TEXT_CHARS)] {
        assert!(Named::read(other).is_none(), "{other:?}");
    }
    let longer = text.expose().to_owned() + "A";
    assert!(Named::read(&longer).is_none());
}

#[test]
fn a_successor_follows_from_the_whole_text_and_the_key() {
    let (key, other) = (TokenKey::generate(), TokenKey::generate());
    let secret = successor_secret(&key, "one");
    assert_eq!(successor_secret(&key, "one"), secret);
    assert_ne!(successor_secret(&key, "two"), secret);
    assert_ne!(successor_secret(&other, "one"), secret);
}
