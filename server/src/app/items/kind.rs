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

    /// What clients write of a new one. Its JSON is part of a hash that is kept (`operations::Asked`): a field that a later
    /// release adds is left out while it is absent, or every retry across the upgrade is refused.
    type Draft: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What clients change of one that is there; as JSON, the same holds. A draft for one that is there changes all that
    /// it names.
    type Patch: From<Self::Draft> + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Checks what a client wrote, each by itself. Errors: `invalid`, `too_large`.
    fn check(draft: Self::Draft) -> Result<Self::Draft>;
    fn check_patch(patch: Self::Patch) -> Result<Self::Patch>;

    fn create(draft: &Self::Draft, by: &Writing) -> Self;

    fn patch(self, patch: &Self::Patch, by: &Writing) -> Self;

    /// What a client would write to make it anew.
    fn draft(self) -> Self::Draft;

    /// What it is found by: at most [`Terms::NAMED_MAX`](crate::store::journal::Terms::NAMED_MAX).
    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// Checks the texts of a field.
pub(super) fn check<'a, Value: FromStr<Err = Invalid>>(
    field: &'static str,
    texts: impl IntoIterator<Item = &'a String>,
) -> Result<()> {
    for text in texts {
        let value: Result<Value, _> = text.parse();
        value.map_err(|Invalid(problem)| Error::Invalid { field, problem })?;
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
