//! How long the server's files and functions are: none too long, and half of them short.

use super::{
    for_each_file,
    tokens::{Token, is_name, tokens},
};
use std::{fs, path::Path};

const FILE_LINES_MAX: usize = 400;
/// From the line of its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 60;
const FILE_LINES_MEDIAN_MAX: usize = 125;
const FUNCTION_LINES_MEDIAN_MAX: usize = 8;

#[test]
fn files_and_functions_are_short() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut lengths, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for_each_file(&source, &mut |path| {
        let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        files.push(text.lines().count());
        lengths.extend(functions(&text).iter().map(|function| function.lines));
        found.extend(too_long(file, &text));
    });
    assert!(files.len() > 10, "only {} files", files.len());
    assert!(found.is_empty(), "{}", found.join("\n"));

    let (file, function) = (median(&mut files), median(&mut lengths));
    println!("half of {} files have {file} lines or fewer", files.len());
    println!(
        "half of {} functions have {function} lines or fewer",
        lengths.len()
    );
    assert!(file <= FILE_LINES_MEDIAN_MAX, "of files: {file}");
    assert!(
        function <= FUNCTION_LINES_MEDIAN_MAX,
        "of functions: {function}"
    );
}

#[test]
fn what_is_too_long_is_caught() {
    let file = |lines: usize| "//\n".repeat(lines);
    assert!(too_long("a.rs", &file(FILE_LINES_MAX)).is_empty());
    assert_eq!(too_long("a.rs", &file(FILE_LINES_MAX + 1)).len(), 1);
    let function = |lines: usize| {
        let body = "    let text = \"} }\"; // }\n".repeat(lines - 2);
        format!("impl A {{\npub async fn long(of: [u8; 2]) -> B {{\n{body}}}\n}}\n")
    };
    assert!(too_long("a.rs", &function(FUNCTION_LINES_MAX)).is_empty());
    let found = too_long("a.rs", &function(FUNCTION_LINES_MAX + 1));
    assert_eq!(found, ["src/a.rs:2: `long` has 61 lines"]);
}

#[test]
fn functions_are_counted_with_their_signature_and_without_what_follows() {
    let text = "trait A {\n    fn declared(\n        self,\n    );\n    fn given(&self) {}\n}\n\
        type B = fn(u8) -> u8;\nfn outer(\n    a: u8,\n) {\n    fn inner() {}\n}\n// fn c() {}\n";
    let found = functions(text);
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.name, it.line, it.lines))
        .collect();
    assert_eq!(found, [("given", 5, 1), ("outer", 8, 5), ("inner", 11, 1)]);
}

/// What of a file is longer than it may be.
fn too_long(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("src/{file} has {lines} lines"));
    }
    let functions = functions(text).into_iter();
    let long = functions.filter(|function| function.lines > FUNCTION_LINES_MAX);
    found.extend(long.map(|Function { name, line, lines }| {
        format!("src/{file}:{line}: `{name}` has {lines} lines")
    }));
    found
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

/// The functions of a file that have a body, also those inside others.
fn functions(text: &str) -> Vec<Function<'_>> {
    let tokens = tokens(text);
    let function = |at: usize| {
        let [keyword, name, rest @ ..] = &tokens[at..] else {
            return None;
        };
        if keyword.text != "fn" || !is_name(name.text) {
            return None;
        }
        Some(Function {
            name: name.text,
            line: keyword.line,
            lines: last_line(rest)? - keyword.line + 1,
        })
    };
    (0..tokens.len()).filter_map(function).collect()
}

/// The line on which a function's body ends; nothing for a declaration.
fn last_line(after_name: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    for token in after_name {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 && token.text == "}" {
                    return Some(token.line);
                }
            }
            ";" if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// At least half of the numbers are not larger.
fn median(numbers: &mut [usize]) -> usize {
    numbers.sort_unstable();
    numbers[(numbers.len() - 1) / 2]
}
