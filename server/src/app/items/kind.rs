//! The trait of a kind: what it decides for itself.

use crate::{
    app::{
        Error, Result,
        access::{ItemRight, Writing},
    },
    live::Refusal,
};
use roost_schema::{Invalid, ItemState, Patched, Term};
use serde::{Serialize, de::DeserializeOwned};
use std::str::FromStr;

/// A kind that clients write, by the state that its entries hold.
///
/// The engine does what is the same for every kind: permissions in the room, ids, `If-Match`, retries, moderation and
/// paging. States are kept in the journal: fields are only added to them, with defaults, and unknown fields of a later
/// release are written back ([`roost_schema::Rest`]).
pub(super) trait ItemKind:
    ItemState + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The right to write an item of this kind.
    const WRITE: ItemRight;
    /// The refusal for a person who is not the author and would change or restore an item; to delete it they need
    /// [`ItemRight::Moderate`]. `None`: the kind has no authors, as a todo.
    const NOT_YOURS: Option<Refusal>;
    /// The refusal when there is no such item.
    const MISSING: Refusal;
    /// The prefixes of this kind's terms, before the colon. Terms with another prefix are a later release's, and stay.
    const TERMS: &'static [&'static str] = &[];

    /// What clients write of a new item: a patch that has every required field.
    type Draft: DeserializeOwned + Into<Self::Patch> + Send + Sync + 'static;
    /// What clients change of an item. Its JSON is part of a kept hash (`operations::Asked`): a field that a later
    /// release adds must be left out while it is absent, or every retry across the upgrade is refused.
    type Patch: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Checks a patch without its item, and brings it into its kept form. Errors: `invalid`, `too_large`.
    fn check(patch: Self::Patch) -> Result<Self::Patch>;

    /// A new item, from the patch of its draft.
    fn create(patch: &Self::Patch, by: &Writing) -> Self;

    fn patch(self, patch: &Self::Patch, by: &Writing) -> Self;

    /// The draft that would make this item anew.
    fn draft(self) -> Self::Draft;

    /// The terms by which the item is found: at most [`Terms::NAMED_MAX`](crate::store::journal::Terms::NAMED_MAX).
    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// Checks the texts of a field, and brings them into the form of their type.
pub(super) fn check_texts<'a, Value: FromStr<Err = Invalid> + Into<String>>(
    field: &'static str,
    texts: impl IntoIterator<Item = &'a mut String>,
) -> Result<()> {
    for text in texts {
        let value: Result<Value, _> = text.parse();
        let value = value.map_err(|Invalid(problem)| Error::Invalid { field, problem })?;
        *text = value.into();
    }
    Ok(())
}

/// Refuses to remove a required field.
pub(super) fn check_stays<T>(field: &'static str, patch: &Patched<T>) -> Result<()> {
    match patch {
        Patched::Goes => Err(Error::Invalid {
            field,
            problem: "cannot be taken away",
        }),
        Patched::Stays | Patched::Is(_) => Ok(()),
    }
}
