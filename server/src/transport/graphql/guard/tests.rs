//! Documents that are refused before they are parsed or executed, and how long the largest allowed one takes.

use super::*;
use std::{
    fmt::Write,
    time::{Duration, Instant},
};

fn code(query: &str) -> Option<ErrorCode> {
    let error = check(&mut Request::new(query)).err()?;
    Some(
        error
            .source::<Error>()
            .map_or(ErrorCode::Malformed, Error::code),
    )
}

#[test]
fn brackets_in_strings_and_comments_do_not_count() {
    assert_eq!(bracket_depth("{a(b:[1])}"), Some(3));
    assert_eq!(bracket_depth(r#"{a(b:"[[[[\"[[[")}"#), Some(2));
    assert_eq!(bracket_depth("{a(b:\"\"\"[[ \\\"\"\" [[\"\"\")}"), Some(2));
    assert_eq!(bracket_depth("{a # [[[[[\n b}"), Some(1));
    assert_eq!(bracket_depth("{a(b:\"[[\n[[[)}"), Some(5));
    assert_eq!(bracket_depth("{a(b:\"\"\"[[[)}"), None);
    assert_eq!(bracket_depth("{a(b:\"\"[[[)}"), Some(5));
}

#[test]
fn an_unended_block_string_hides_nothing() {
    let bomb = format!("{{a(b:[\"\"\"x\" {} ])}}", "[".repeat(5_000));
    assert_eq!(code(&bomb), Some(ErrorCode::Malformed));
}

#[test]
fn bombs_of_brackets_are_refused() {
    for depth in [100, 2_000, 5_000, 30_000] {
        let lists = format!("{{a(b:{}{})}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(code(&lists), Some(ErrorCode::TooLarge), "{depth} lists");
    }
    let objects = format!("{{a(b:{}1{})}}", "{c:".repeat(5_000), "}".repeat(5_000));
    assert_eq!(code(&objects), Some(ErrorCode::TooLarge));
    let fields = format!("{}a{}", "{a".repeat(3_000), "}".repeat(3_000));
    assert_eq!(code(&fields), Some(ErrorCode::TooLarge));
    let types = format!(
        "query($a:{}Int{}){{a}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert_eq!(code(&types), Some(ErrorCode::TooLarge));
    assert_eq!(
        code(&" ".repeat(DOCUMENT_BYTES_MAX + 1)),
        Some(ErrorCode::TooLarge)
    );
}

#[test]
fn fragments_that_double_are_counted_not_walked() {
    let mut query = "{...f0}".to_owned();
    for n in 0..18 {
        let next = n + 1;
        let _ = write!(query, "fragment f{n} on Query{{...f{next} ...f{next}}}");
    }
    query += "fragment f18 on Query{me{id}}";
    assert_eq!(code(&query), Some(ErrorCode::TooLarge));

    let mut chain = "{...f0}".to_owned();
    for n in 0..1_000 {
        let _ = write!(chain, "fragment f{n} on Query{{...f{}}}", n + 1);
    }
    assert_eq!(code(&chain), Some(ErrorCode::TooLarge));

    let circle = "{...a} fragment a on Query{...b} fragment b on Query{...a}";
    assert_eq!(code(circle), Some(ErrorCode::Malformed));
}

#[test]
fn aliases_fields_roots_and_depth_are_bounded() {
    let many = |count: usize, field: &str| -> String {
        (0..count)
            .map(|n| field.replace('#', &n.to_string()))
            .collect()
    };
    let aliases = format!("{{me{{{}}}}}", many(ALIASES_MAX + 1, "a#:id "));
    assert_eq!(code(&aliases), Some(ErrorCode::TooLarge));
    let roots = format!("{{{}}}", many(ROOT_FIELDS_MAX + 1, "me{id} "));
    assert_eq!(code(&roots), Some(ErrorCode::TooLarge));
    let fields = format!("{{me{{{}}}}}", many(FIELDS_MAX + 1, "id "));
    assert_eq!(code(&fields), Some(ErrorCode::TooLarge));
    let deep = format!(
        "{}{}",
        "{a".repeat(FIELD_DEPTH_MAX + 1),
        "}".repeat(FIELD_DEPTH_MAX + 1)
    );
    assert_eq!(code(&deep), Some(ErrorCode::TooLarge));
    assert_eq!(code("{me{id}}"), None);
}

#[test]
fn the_largest_document_that_passes_parses_quickly() {
    let nested = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let query = format!("{{a(b:[{}])}}", nested.repeat(500));
    let start = Instant::now();
    assert_eq!(code(&query), None);
    assert!(start.elapsed() < Duration::from_secs(5));
}
