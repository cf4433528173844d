//! What a kind of item decides for itself.

use crate::{
    app::{Permission, Result, access::Writing},
    live::Refusal,
};
use roost_schema::{Kind, UserId};
use serde::{Serialize, de::DeserializeOwned};

/// A kind that clients write: the state that its entries hold.
///
/// Who may write in the room at all, ids, `If-Match`, retries, moderation and paging are the same for every kind, and the
/// engine's. States are kept: fields are only ever added to them, with defaults.
pub(super) trait ItemKind: Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: Kind;
    /// What it takes to write one's own.
    const WRITE: Permission;
    /// What is answered where there is none.
    const MISSING: Refusal;

    /// What clients write of a new one, checked. Its JSON is part of a hash that is kept (`operations::Asked`): a field that a later
    /// release adds is left out while it is absent, or every retry across the upgrade is refused.
    type Draft: Serialize + Send + Sync + 'static;
    /// What clients write of one that is there, checked; as JSON, the same holds. A draft for one that is there changes all that it names.
    type Patch: Serialize + for<'a> From<&'a Self::Draft> + Send + Sync + 'static;

    /// Reads what a client wrote of a new one. Errors: `invalid`, `too_large`.
    fn parse(body: &serde_json::Value) -> Result<Self::Draft>;

    fn create(draft: &Self::Draft, by: &Writing) -> Result<Self, Refusal>;

    fn patch(self, patch: &Self::Patch, by: &Writing) -> Result<Self, Refusal>;

    /// Who may delete it; of others' it takes [`Permission::Moderate`].
    fn author(&self) -> UserId;
}
