//! The engine of items: how an item of any kind is written, deleted and restored.

use super::kind::ItemKind;
use crate::{
    app::{
        Error, Result,
        access::{ItemRight, RoomAccess, Writing},
        operations::{Asked, ItemOperation, request_hash},
    },
    live::{Change, Refusal, RoomView},
    store::{
        Read,
        journal::{Entry, RequestHash, Terms},
    },
};
use roost_schema::{
    Body, ErrorCode, ItemId, Op, OpId, PatchItem, PutItem, RestoreItem, RoomId, Seq,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Largest body that a client may write, in bytes of JSON.
const ITEM_BODY_BYTES_MAX: usize = 256 * 1_024;

/// The functions of the engine for one kind, chosen by the kind of a request or an entry.
pub(super) struct Rules {
    pub(super) create: fn(PutItem) -> Result<ItemOperation>,
    pub(super) put: fn(PutItem) -> Result<ItemOperation>,
    pub(super) patch: fn(PatchItem) -> Result<ItemOperation>,
    pub(super) restore: fn(RestoreItem) -> Result<ItemOperation>,
    pub(super) delete: DeletionRule,
}

type DeletionJudge = fn(Option<&Entry>, Option<Seq>, &Writing) -> Result<Change, Refusal>;

/// Judges the deletion of an item as it stands in the room, by what the two parts of an operation ask.
#[derive(Clone, Copy)]
pub(super) struct DeletionRule {
    pub(super) right: fn(Option<&Entry>, &RoomAccess<Read>) -> Result<ItemRight, Refusal>,
    pub(super) judge: DeletionJudge,
}

impl Rules {
    pub(super) const fn of<K: ItemKind>() -> Self {
        Self {
            create: create::<K>,
            put: put::<K>,
            patch: patch::<K>,
            restore: restore::<K>,
            delete: DeletionRule {
                right: right_to_delete::<K>,
                judge: delete::<K>,
            },
        }
    }
}

fn create<K: ItemKind>(input: PutItem) -> Result<ItemOperation> {
    written::<K>(input, Ask::Create)
}

fn put<K: ItemKind>(input: PutItem) -> Result<ItemOperation> {
    written::<K>(input, Ask::Put)
}

fn written<K: ItemKind>(input: PutItem, ask: Ask) -> Result<ItemOperation> {
    let patch = K::check(parse::<K::Draft>(input.body)?.into())?;
    let route = ("put", input.room, input.item, &patch, input.if_match);
    let route = request_hash("item", &route);
    let write = ItemWrite::<K>::new(input.item, (ask, patch), input.if_match)?;
    Ok(write.into_operation(input.room, input.op_id, route))
}

fn patch<K: ItemKind>(input: PatchItem) -> Result<ItemOperation> {
    let patch = K::check(parse(input.body)?)?;
    let route = ("patch", input.room, input.item, &patch, input.if_match);
    let route = request_hash("item", &route);
    let write = ItemWrite::<K>::new(Some(input.item), (Ask::Patch, patch), input.if_match)?;
    Ok(write.into_operation(input.room, input.op_id, route))
}

fn restore<K: ItemKind>(input: RestoreItem) -> Result<ItemOperation> {
    let patch = K::check(parse::<K>(input.body)?.draft().into())?;
    let route = ("restore", input.room, input.item, &patch);
    let route = request_hash("item", &route);
    let write = ItemWrite::<K>::new(Some(input.item), (Ask::Restore, patch), None)?;
    Ok(write.into_operation(input.room, input.op_id, route))
}

/// Reads the body that a client wrote.
fn parse<T: DeserializeOwned>(body: Value) -> Result<T> {
    if body.to_string().len() > ITEM_BODY_BYTES_MAX {
        return Err(Error::refused(
            ErrorCode::TooLarge,
            "an item's body is at most 256 KiB",
        ));
    }
    T::deserialize(body).map_err(|error| Error::InvalidBody(error.to_string()))
}

/// A write of one item, judged by the room's state at the head it would follow.
pub(super) struct ItemWrite<K: ItemKind> {
    item: ItemId,
    /// The item's id was made for this write.
    is_new: bool,
    ask: Ask,
    patch: K::Patch,
    if_match: Option<Seq>,
}

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To make a new item.
    Create,
    /// To make a new item, or change the one that is there.
    Put,
    /// To change the item.
    Patch,
    /// To bring back a deleted item, in its place.
    Restore,
}

impl<K: ItemKind> ItemWrite<K> {
    /// A write of an item. `None`: the server makes its id. Errors: `invalid` for an id that no client may choose.
    pub(super) fn new(
        item: Option<ItemId>,
        (ask, patch): (Ask, K::Patch),
        if_match: Option<Seq>,
    ) -> Result<Self> {
        let may_make = matches!(ask, Ask::Create | Ask::Put);
        if may_make && item.is_some_and(|item| !item.is_choosable()) {
            return Err(Error::Invalid {
                field: "id",
                problem: "must be a UUIDv7",
            });
        }
        Ok(Self {
            item: item.unwrap_or_else(ItemId::generate),
            is_new: item.is_none(),
            ask,
            patch,
            if_match,
        })
    }

    /// `request_hash`: the hash by route, which earlier releases compare.
    pub(super) fn into_operation(
        self,
        room: RoomId,
        op_id: Option<OpId>,
        request_hash: RequestHash,
    ) -> ItemOperation {
        let body = Body::encode(&self.patch).ok();
        let bytes = body.as_ref().map_or(0, |body| body.as_str().len());
        let asked = Asked {
            room,
            item: (!self.is_new).then_some(self.item),
            kind: Some(K::KIND),
            op: Op::Put,
            body,
            if_match: self.if_match,
            is_restore: self.ask == Ask::Restore,
        };
        ItemOperation {
            op_id,
            request_hash,
            asked_hash: asked.hash(),
            item: self.item,
            is_new: self.is_new,
            bytes,
            right: Box::new(|_, _| Ok(K::WRITE)),
            judge: Box::new(move |room, by| self.judge(room, by)),
        }
    }

    fn judge(&self, room: &RoomView, by: &Writing) -> Result<Change, Refusal> {
        let known = room.item(self.item);
        let state = match (living::<K>(known), self.ask) {
            (Some((entry, state)), Ask::Put | Ask::Patch) => {
                permit_change(&state, by)?;
                refuse_stale(self.if_match, entry)?;
                state.patch(&self.patch, by)
            }
            (Some(_), Ask::Create) => return Err(ID_TAKEN),
            (Some(_), Ask::Restore) => return Err(NOT_DELETED),
            (None, Ask::Patch) => return Err(K::MISSING),
            (None, Ask::Restore) => {
                permit_restoring::<K>(known, by)?;
                K::create(&self.patch, by)
            }
            (None, Ask::Create | Ask::Put) if known.is_some() => return Err(ID_TAKEN),
            (None, Ask::Put) if self.if_match.is_some() => return Err(STALE),
            (None, Ask::Create | Ask::Put) => K::create(&self.patch, by),
        };
        change(self.item, &state, known)
    }
}

/// The change that gives an item this state. Terms of a later release stay.
fn change<K: ItemKind>(item: ItemId, state: &K, known: Option<&Entry>) -> Result<Change, Refusal> {
    let mut terms = state.terms();
    terms.truncate(Terms::NAMED_MAX);
    // A term whose prefix the kind does not name would stay for ever, like one of a later release.
    debug_assert!(terms.iter().all(|term| K::TERMS.contains(&term.prefix())));
    let terms = Terms::new(terms);
    Ok(Change {
        item,
        kind: K::KIND,
        op: Op::Put,
        body: Body::encode(state).map_err(|_| UNREADABLE)?,
        terms: match known {
            Some(known) => terms.carrying(&known.terms, K::TERMS),
            None => terms,
        },
    })
}

fn permit_change<K: ItemKind>(state: &K, by: &Writing) -> Result<(), Refusal> {
    match K::NOT_YOURS {
        Some(refusal) if state.author() != by.user_id() => Err(refusal),
        _ => Ok(()),
    }
}

/// Refuses to restore an item of a kind with authors that another person deleted. The person who restores it becomes
/// its author, because a deleted item keeps no author.
fn permit_restoring<K: ItemKind>(known: Option<&Entry>, by: &Writing) -> Result<(), Refusal> {
    let is_deleted = |entry: &&Entry| entry.kind == K::KIND && entry.op == Op::Delete;
    let deleted = known.filter(is_deleted).ok_or(K::MISSING)?;
    match K::NOT_YOURS {
        Some(refusal) if deleted.actor != by.user_id() => Err(refusal),
        _ => Ok(()),
    }
}

/// An item that its actor may change; any other with [`ItemRight::Moderate`].
pub(super) fn right_to_delete<K: ItemKind>(
    known: Option<&Entry>,
    by: &RoomAccess<Read>,
) -> Result<ItemRight, Refusal> {
    let (_, state) = living::<K>(known).ok_or(K::MISSING)?;
    Ok(match K::NOT_YOURS {
        Some(_) if state.author() != by.user_id() => ItemRight::Moderate,
        _ => K::WRITE,
    })
}

pub(super) fn delete<K: ItemKind>(
    known: Option<&Entry>,
    if_match: Option<Seq>,
    _: &Writing,
) -> Result<Change, Refusal> {
    let (entry, _) = living::<K>(known).ok_or(K::MISSING)?;
    refuse_stale(if_match, entry)?;
    Ok(Change {
        item: entry.item,
        kind: K::KIND,
        op: Op::Delete,
        body: Body::null(),
        terms: Terms::default(),
    })
}

/// The item of an entry, unless it is deleted or of another kind.
fn living<K: ItemKind>(entry: Option<&Entry>) -> Option<(&Entry, K)> {
    let entry = entry.filter(|entry| entry.kind == K::KIND && entry.op == Op::Put)?;
    Some((entry, entry.body.decode().ok()?))
}

fn refuse_stale(if_match: Option<Seq>, entry: &Entry) -> Result<(), Refusal> {
    match if_match {
        Some(seq) if seq != entry.seq => Err(STALE),
        _ => Ok(()),
    }
}

const fn refusal(code: ErrorCode, sentence: &'static str) -> Refusal {
    Refusal { code, sentence }
}

const ID_TAKEN: Refusal = refusal(
    ErrorCode::Conflict,
    "an item with this id exists or existed",
);
const NOT_DELETED: Refusal = refusal(ErrorCode::Conflict, "the item is not deleted");
const STALE: Refusal = refusal(
    ErrorCode::Stale,
    "the item has changed since that version; read it again",
);
const UNREADABLE: Refusal = refusal(ErrorCode::Internal, "the item cannot be encoded");
