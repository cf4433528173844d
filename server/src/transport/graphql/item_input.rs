//! What `putItems` takes: one change of one item, as GraphQL writes it.

use crate::app::{Error, Result};
use async_graphql::{InputObject, OneofObject};
use roost_schema::{Body, ItemDraft, ItemId, ItemOp, ItemPatch, Seq};
use serde::Serialize;

/// One change of one item: exactly one of these.
#[derive(OneofObject)]
pub(super) enum ItemInput {
    /// Makes an item, or changes all that the body names.
    Put(PutInput),
    /// Changes some fields: what is absent stays, what is null goes.
    Patch(PatchInput),
    Delete(DeleteInput),
    /// Brings back an item that was deleted, in its place.
    Restore(RestoreInput),
}

#[derive(InputObject)]
pub(super) struct PutInput {
    /// A `UUIDv7`; absent: a new item with an id of the server's making.
    item: Option<ItemId>,
    body: ItemDraft,
    if_match: Option<Seq>,
}

#[derive(InputObject)]
pub(super) struct PatchInput {
    item: ItemId,
    body: ItemPatch,
    if_match: Option<Seq>,
}

#[derive(InputObject)]
pub(super) struct DeleteInput {
    item: ItemId,
    if_match: Option<Seq>,
}

#[derive(InputObject)]
pub(super) struct RestoreInput {
    kind: String,
    item: ItemId,
    /// As it was served before the item was deleted.
    body: Body,
}

impl TryFrom<ItemInput> for ItemOp {
    type Error = Error;

    fn try_from(input: ItemInput) -> Result<Self> {
        Ok(match input {
            ItemInput::Put(input) => Self::Put {
                kind: input.body.kind().to_string(),
                item: input.item,
                body: to_json(&input.body)?,
                if_match: input.if_match,
            },
            ItemInput::Patch(input) => Self::Patch {
                kind: input.body.kind().to_string(),
                item: input.item,
                body: to_json(&input.body)?,
                if_match: input.if_match,
            },
            ItemInput::Delete(input) => Self::Delete {
                item: input.item,
                if_match: input.if_match,
            },
            ItemInput::Restore(input) => Self::Restore {
                kind: input.kind,
                item: input.item,
                body: to_json(&input.body)?,
            },
        })
    }
}

fn to_json(body: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(body).map_err(|error| Error::Internal(error.into()))
}
