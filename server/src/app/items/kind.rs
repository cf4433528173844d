//! What a kind of item decides for itself.

use crate::{
    app::{Error, Permission, Result, access::Writing},
    live::Refusal,
};
use roost_schema::{Invalid, ItemState, Patched, Term};
use serde::{Serialize, de::DeserializeOwned};
use std::str::FromStr;

/// A kind that clients write, by the state that its entries hold.
///
/// Who may write in the room at all, ids, `If-Match`, retries, moderation and paging are the same for every kind, and the
/// engine's. States are kept: fields are only ever added to them, with defaults, and those of a later release are written
/// back ([`roost_schema::Rest`]).
pub(super) trait ItemKind:
    ItemState + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What it takes to write one.
    const WRITE: Permission;
    /// What everybody but its author hears who would change or restore one; they delete it with
    /// [`Permission::Moderate`]. None: one is everybody's, as a todo is.
    const NOT_YOURS: Option<Refusal>;
    /// What is answered where there is none.
    const MISSING: Refusal;
    /// What stands before the colon of the terms that this kind names; others are a later release's, and carried.
    const TERMS: &'static [&'static str] = &[];

    /// What clients write of a new one: a patch in which nothing is missing that one must have.
    type Draft: DeserializeOwned + Into<Self::Patch> + Send + Sync + 'static;
    /// What clients change of one. Its JSON is part of a hash that is kept (`operations::Asked`): a field that a later
    /// release adds is left out while it is absent, or every retry across the upgrade is refused.
    type Patch: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Checks what a client wrote, by itself, and brings it into the form in which it is kept. Errors: `invalid`,
    /// `too_large`.
    fn check(patch: Self::Patch) -> Result<Self::Patch>;

    /// A new one, of the patch that a draft is.
    fn create(patch: &Self::Patch, by: &Writing) -> Self;

    fn patch(self, patch: &Self::Patch, by: &Writing) -> Self;

    /// What a client would write to make it anew.
    fn draft(self) -> Self::Draft;

    /// What it is found by: at most [`Terms::NAMED_MAX`](crate::store::journal::Terms::NAMED_MAX).
    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// Checks the texts of a field, and keeps them in the form that their type gives them.
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

/// Refuses to take away a field that every item of the kind has.
pub(super) fn check_stays<T>(field: &'static str, patch: &Patched<T>) -> Result<()> {
    match patch {
        Patched::Goes => Err(Error::Invalid {
            field,
            problem: "cannot be taken away",
        }),
        Patched::Stays | Patched::Is(_) => Ok(()),
    }
}
