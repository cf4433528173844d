//! The terms by which an item is found.

use roost_schema::Term;
use serde::{Deserialize, Deserializer, Serialize};

/// The terms of an item as of an entry, each once, ascending. Terms of a later release are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Terms(Vec<Term>);

impl Terms {
    /// How many terms a kind may name for one item.
    pub const NAMED_MAX: usize = 8;

    pub fn new(terms: impl IntoIterator<Item = Term>) -> Self {
        let mut terms: Vec<_> = terms.into_iter().collect();
        terms.sort_unstable();
        terms.dedup();
        Self(terms)
    }

    /// Adds the terms of an older entry that this release does not name: their prefix is none of `named`.
    #[must_use]
    pub fn carrying(self, older: &Self, named: &[&str]) -> Self {
        let unnamed = older.iter().filter(|term| !named.contains(&term.prefix()));
        let unnamed: Vec<_> = unnamed.cloned().collect();
        Self::new(self.0.into_iter().chain(unnamed))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Term> {
        self.0.iter()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The terms as a JSON array, the form in which SQL stores them; `None` when there are none.
    pub(super) fn to_text(&self) -> Option<String> {
        // A text always encodes.
        (!self.is_empty()).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads terms from their JSON array.
    pub(super) fn from_text(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

/// Keeps stored terms unchecked: they were checked when they were written.
impl<'de> Deserialize<'de> for Terms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = Vec::<String>::deserialize(deserializer)?;
        Ok(Self::new(kept.into_iter().map(Term::from_kept)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(texts: &[&str]) -> Terms {
        Terms::new(texts.iter().map(|text| Term::from_kept((*text).to_owned())))
    }

    #[test]
    fn those_of_a_later_release_are_carried() {
        let older = terms(&["to:ann", "later:7", "odd"]);
        let newer = terms(&["to:bob"]).carrying(&older, &["to", "due"]);
        assert_eq!(newer, terms(&["later:7", "odd", "to:bob"]));
    }

    #[test]
    fn they_are_kept_as_they_came() {
        let odd = terms(&["of a later release: \"quoted\"", "to:ann", "to:ann"]);
        let text = odd.to_text().unwrap();
        assert_eq!(Terms::from_text(&text).unwrap(), odd);
        assert_eq!(odd.iter().count(), 2);
        assert_eq!(Terms::default().to_text(), None);
    }
}
