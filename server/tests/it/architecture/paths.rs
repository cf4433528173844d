//! The paths that a Rust source file names, found without a full parser.

use super::tokens::{is_name, tokens};

/// Every path, with `{…}` spelled out: `a::{b, c::d}` is `a::b` and `a::c::d`.
pub(super) fn paths(text: &str) -> Vec<Vec<String>> {
    let tokens: Vec<&str> = tokens(text).iter().map(|token| token.text).collect();
    let tokens = tokens.as_slice();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_name(tokens[at]) {
            at = path(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path that begins at a token; answers the token after it.
fn path(tokens: &[&str], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
    let mut path = prefix.to_vec();
    loop {
        if token(at) == "{" {
            at += 1;
            while at < tokens.len() && token(at) != "}" {
                at = if token(at) == "," {
                    at + 1
                } else {
                    self::path(tokens, at, &path, found).max(at + 1)
                };
            }
            return at + 1;
        }
        if token(at) != "*" && !is_name(token(at)) {
            break;
        }
        path.push(token(at).to_owned());
        at += 1;
        if token(at) != "::" {
            break;
        }
        at += 1;
    }
    if token(at) == "as" {
        // `use crate as other` gives the crate another name, as `{self as other}` does.
        if path == ["crate"] {
            path.push("self".to_owned());
        }
        at += 2;
    }
    found.push(path);
    at
}
