//! The use cases of items of every kind that clients write. The engine does what all kinds share; a kind is one file.

mod batch;
mod engine;
mod kind;
mod messages;
mod reading;
mod todos;

pub use reading::ItemQuery;

use super::{
    Actor, App, Queued, Result,
    operations::{Asked, ItemOperation, request_hash},
};
use crate::{live::Refusal, store::journal::Entry};
use engine::{DeletionRule, Rules};
use roost_schema::{DeleteItem, ErrorCode, Item, Kind, Op, PatchItem, PutItem, RestoreItem};

/// One arm for each kind that clients write.
macro_rules! rules {
    ($($kind:ident: $state:ident, $draft:ident, $patch:ident;)+) => {
        const fn rules_of(kind: &Kind) -> Option<Rules> {
            match kind {
                $(Kind::$kind => Some(Rules::of::<roost_schema::$state>()),)+
                Kind::Room | Kind::Member | Kind::Session | Kind::Other(_) => None,
            }
        }
    };
}
roost_schema::with_kinds!(rules);

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.item,
            room_id: entry.room,
            seq: entry.seq,
            born: entry.born,
            kind: entry.kind,
            body: entry.body,
            actor: entry.actor,
            at: entry.at,
        }
    }
}

impl App {
    /// Creates an item of any kind clients may write. Errors: `conflict` if there is or was one with its id.
    pub fn create_item<View: From<Entry>>(&self, actor: &Actor, input: PutItem) -> Queued<View> {
        let room = input.room;
        let operation = rules(&input.kind).and_then(|rules| (rules.create)(input));
        self.write(actor, room, operation, |entry| Ok(entry.into()))
    }

    /// Creates or changes an item of any kind clients may write; else `unsupported_kind`.
    pub fn put_item<View: From<Entry>>(&self, actor: &Actor, input: PutItem) -> Queued<View> {
        let room = input.room;
        let operation = rules(&input.kind).and_then(|rules| (rules.put)(input));
        self.write(actor, room, operation, |entry| Ok(entry.into()))
    }

    /// Changes some fields of an item of any kind clients may write.
    pub fn patch_item<View: From<Entry>>(&self, actor: &Actor, input: PatchItem) -> Queued<View> {
        let room = input.room;
        let operation = rules(&input.kind).and_then(|rules| (rules.patch)(input));
        self.write(actor, room, operation, |entry| Ok(entry.into()))
    }

    /// Restores a deleted item in its place, as if the actor had written it now.
    pub fn restore_item<View: From<Entry>>(
        &self,
        actor: &Actor,
        input: RestoreItem,
    ) -> Queued<View> {
        let room = input.room;
        let operation = rules(&input.kind).and_then(|rules| (rules.restore)(input));
        self.write(actor, room, operation, |entry| Ok(entry.into()))
    }

    /// Deletes an item of any kind clients may write.
    pub fn delete_item<View: From<Entry>>(&self, actor: &Actor, input: DeleteItem) -> Queued<View> {
        self.delete(actor, input, deletion_of, |entry| Ok(entry.into()))
    }

    fn delete<T>(
        &self,
        actor: &Actor,
        input: DeleteItem,
        rule: fn(Option<&Entry>) -> Result<DeletionRule, Refusal>,
        view: fn(Entry) -> Result<T>,
    ) -> Queued<T> {
        let (item, if_match) = (input.item, input.if_match);
        let operation = ItemOperation {
            request_hash: request_hash("delete", &(input.room, item, if_match)),
            asked_hash: Asked {
                room: input.room,
                item: Some(item),
                kind: None,
                op: Op::Delete,
                body: (),
                if_match,
                is_restore: false,
            }
            .hash(),
            op_id: input.op_id,
            item,
            is_new: false,
            bytes: 0,
            right: Box::new(move |room, by| {
                let known = room.item(item);
                (rule(known)?.right)(known, by)
            }),
            judge: Box::new(move |room, by| {
                let known = room.item(item);
                (rule(known)?.judge)(known, if_match, by)
            }),
        };
        self.write(actor, input.room, Ok(operation), view)
    }
}

fn rules(kind: &str) -> Result<Rules> {
    rules_of(&Kind::from(kind)).ok_or_else(|| UNSUPPORTED_KIND.into())
}

/// The rule of an item's own kind.
fn deletion_of(known: Option<&Entry>) -> Result<DeletionRule, Refusal> {
    let living = known.filter(|entry| entry.op == Op::Put);
    let rules = match living.map(|entry| &entry.kind) {
        Some(Kind::Other(_)) => return Err(UNSUPPORTED_KIND),
        living => living.and_then(rules_of),
    };
    // Without an entry the kind is unknown, and the refusal is that of a missing message.
    let rules = rules.unwrap_or(Rules::of::<roost_schema::MessageState>());
    Ok(rules.delete)
}

const UNSUPPORTED_KIND: Refusal = Refusal {
    code: ErrorCode::UnsupportedKind,
    sentence: "there is no such kind of item, or clients may not write it",
};
