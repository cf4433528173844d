//! Refuses documents that would cost too much, before the GraphQL library sees them.
//!
//! The library's parser recurses without a bound: 4 KB of nested brackets end the process. Its checks
//! expand fragments by walking, so that thirty fragments, each naming the next twice, take for ever.
//! Here brackets are counted in the text, and what a fragment expands to is computed once for each.

use super::error_codes::request_error;
use crate::app::Error;
use async_graphql::{
    Name, Request, ServerError,
    parser::types::{
        ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use roost_schema::ErrorCode;
use std::collections::HashMap;

pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1_024;
pub(super) const BRACKET_DEPTH_MAX: usize = 64;
/// Levels of fields. GraphiQL's introspection query has 15.
pub(super) const FIELD_DEPTH_MAX: usize = 20;
/// Fields of a document with its fragments expanded. GraphiQL's introspection query has about 200.
pub(super) const FIELDS_MAX: usize = 1_000;
pub(super) const ALIASES_MAX: usize = 50;
/// Root fields of an operation: each is a use case.
pub(super) const ROOT_FIELDS_MAX: usize = 20;

/// Checks a request's document and parses it. Returns the type of the operation it names; `None` when it names none,
/// which execution reports.
pub(super) fn check(request: &mut Request) -> Result<Option<OperationType>, ServerError> {
    check_text(&request.query)?;
    let name = request.operation_name.clone();
    let document = request.parsed_query()?;
    check_document(document)?;
    Ok(operation(document, name.as_deref()).map(|operation| operation.ty))
}

fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut operations = document.operations.iter();
    let chosen = match name {
        Some(_) => operations.find(|(own, _)| own.map(Name::as_str) == name),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    chosen.map(|(_, operation)| &operation.node)
}

fn check_text(document: &str) -> Result<(), ServerError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(too_large("a GraphQL document has at most 64 KiB"));
    }
    match bracket_depth(document) {
        None => Err(malformed("a block string has no end")),
        Some(depth) if depth > BRACKET_DEPTH_MAX => {
            Err(too_large("the document nests brackets deeper than 64"))
        }
        Some(_) => Ok(()),
    }
}

/// How deep brackets nest, outside of strings and comments; `None` for a block string without an
/// end. Closing brackets are taken to match: a document where they do not may count too little, but the parser refuses
/// it.
fn bracket_depth(document: &str) -> Option<usize> {
    let mut rest = document.as_bytes();
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'#' => after_comment(after),
            b'"' if after.starts_with(b"\"\"") => after_block_string(&after[2..])?,
            b'"' => after_string(after),
            _ => after,
        };
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    Some(deepest)
}

fn after_comment(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.map_or(&[], |end| &text[end..])
}

/// A string ends at its line's end at the latest: what follows a broken one is counted.
fn after_string(text: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return &text[at + 1..],
            b'\n' | b'\r' => return &text[at..],
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    &[]
}

fn after_block_string(text: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if text[at..].starts_with(b"\"\"\"") {
            return Some(&text[at + 3..]);
        } else {
            at += 1;
        }
    }
    None
}

fn check_document(document: &ExecutableDocument) -> Result<(), ServerError> {
    let mut measure = Measure {
        document,
        fragments: HashMap::new(),
    };
    let mut all = Size::default();
    for (_, operation) in document.operations.iter() {
        let size = measure.selection_set(&operation.node.selection_set.node)?;
        if size.roots > ROOT_FIELDS_MAX {
            return Err(too_large("an operation has at most 20 root fields"));
        }
        // GraphQL §5.2.3.1; each root field would be a feed of its own.
        if operation.node.ty == OperationType::Subscription && size.roots > 1 {
            return Err(malformed("a subscription has one root field"));
        }
        all = all.beside(size);
    }
    for name in document.fragments.keys() {
        all = all.beside(measure.fragment(name)?);
    }
    if all.depth > FIELD_DEPTH_MAX {
        return Err(too_large("the query is nested deeper than 20 fields"));
    }
    if all.fields > FIELDS_MAX {
        return Err(too_large("the query has more than 1,000 fields"));
    }
    if all.aliases > ALIASES_MAX {
        return Err(too_large("the query has more than 50 aliases"));
    }
    Ok(())
}

fn too_large(sentence: &'static str) -> ServerError {
    request_error(Error::refused(ErrorCode::TooLarge, sentence))
}

fn malformed(sentence: &'static str) -> ServerError {
    request_error(Error::refused(ErrorCode::Malformed, sentence))
}

/// What a selection comes to, its fragments expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    fields: usize,
    aliases: usize,
    roots: usize,
}

impl Size {
    /// Saturates, as expanded fragments grow beyond any number.
    fn beside(self, other: Self) -> Self {
        Self {
            depth: self.depth.max(other.depth),
            fields: self.fields.saturating_add(other.fields),
            aliases: self.aliases.saturating_add(other.aliases),
            roots: self.roots.saturating_add(other.roots),
        }
    }
}

struct Measure<'a> {
    document: &'a ExecutableDocument,
    /// Sizes of fragments; `None` while one is being measured.
    fragments: HashMap<&'a str, Option<Size>>,
}

impl<'a> Measure<'a> {
    /// Recursion is bounded: selections by the brackets of the text, fragments by [`Self::fragment`].
    fn selection_set(&mut self, selection_set: &'a SelectionSet) -> Result<Size, ServerError> {
        let mut size = Size::default();
        for selection in &selection_set.items {
            size = size.beside(match &selection.node {
                Selection::Field(field) => {
                    let inner = self.selection_set(&field.node.selection_set.node)?;
                    Size {
                        depth: inner.depth + 1,
                        fields: inner.fields.saturating_add(1),
                        aliases: inner
                            .aliases
                            .saturating_add(usize::from(field.node.alias.is_some())),
                        roots: 1,
                    }
                }
                Selection::InlineFragment(inline) => {
                    self.selection_set(&inline.node.selection_set.node)?
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(&spread.node.fragment_name.node)?
                }
            });
        }
        Ok(size)
    }

    fn fragment(&mut self, name: &str) -> Result<Size, ServerError> {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(Size::default());
        };
        match self.fragments.get(name.as_str()) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => {
                return Err(malformed("a fragment contains itself"));
            }
            None => {}
        }
        let being_measured = self.fragments.values().filter(|size| size.is_none());
        if being_measured.count() >= FIELD_DEPTH_MAX {
            return Err(too_large("fragments are nested deeper than 20"));
        }
        self.fragments.insert(name, None);
        let size = self.selection_set(&fragment.node.selection_set.node)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests;
