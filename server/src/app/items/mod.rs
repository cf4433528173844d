//! Items of every kind that clients write. What all kinds share is the engine's; a kind is one file.

mod engine;
mod kind;
mod messages;

use super::{
    Actor, App, Error, Permission, Queued, Result,
    access::permit,
    operations::{Asked, Operation, request_hash},
};
use crate::{
    live::{Change, Refusal, RoomView},
    store::journal::Entry,
};
use engine::Put;
use kind::ItemKind;
use roost_schema::{DeleteItem, ErrorCode, Kind, MessageState, Op, PutItem, RoomEvent, Seq};

/// Largest body of an item, in bytes of JSON.
const ITEM_BODY_BYTES_MAX: usize = 256 * 1_024;

impl App {
    /// Creates or changes an item of any kind clients may write; else `unsupported_kind`.
    pub fn put_item(&self, actor: &Actor, input: PutItem) -> Queued<RoomEvent> {
        let room = input.room;
        self.write(actor, room, put_operation(actor, input), |entry| {
            Ok(entry.into())
        })
    }

    /// Deletes an item of any kind clients may write.
    pub fn delete_item(&self, actor: &Actor, input: DeleteItem) -> Queued<RoomEvent> {
        self.delete(actor, input, delete_any, |entry| Ok(entry.into()))
    }

    fn delete<T>(
        &self,
        actor: &Actor,
        input: DeleteItem,
        rule: DeletionRule,
        view: fn(Entry) -> Result<T>,
    ) -> Queued<T> {
        let (actor, item, if_match) = (*actor, input.item, input.if_match);
        let operation = Operation {
            request_hash: request_hash("delete", &(input.room, item, if_match)),
            asked_hash: Asked {
                room: input.room,
                item: Some(item),
                kind: None,
                op: Op::Delete,
                body: (),
                if_match,
            }
            .hash(),
            op_id: input.op_id,
            item,
            is_new: false,
            bytes: 0,
            judge: Box::new(move |room| {
                permit(room, &actor, Permission::Read)?;
                rule(room, &actor, room.item(item), if_match)
            }),
        };
        self.write(&actor, input.room, Ok(operation), view)
    }
}

/// Judges the deletion of an item as it stands in the room.
type DeletionRule = fn(&RoomView, &Actor, Option<&Entry>, Option<Seq>) -> Result<Change, Refusal>;

fn put_operation(actor: &Actor, input: PutItem) -> Result<Operation> {
    let kind = Kind::from(input.kind.as_str());
    if let Kind::Other(_) = kind {
        return Err(UNSUPPORTED_KIND.into());
    }
    if input.body.to_string().len() > ITEM_BODY_BYTES_MAX {
        return Err(Error::refused(
            ErrorCode::TooLarge,
            "an item's body is at most 256 KiB",
        ));
    }
    match kind {
        Kind::Message => put_as::<MessageState>(actor, input),
        Kind::Room | Kind::Member | Kind::Session | Kind::Other(_) => Err(UNSUPPORTED_KIND.into()),
    }
}

fn put_as<K: ItemKind>(actor: &Actor, input: PutItem) -> Result<Operation> {
    let draft = K::parse(&input.body)?;
    let request = ("put", input.room, input.item, &draft, input.if_match);
    let request_hash = request_hash("item", &request);
    let put = Put::<K>::either(actor, input.item, draft, input.if_match)?;
    Ok(put.into_operation(input.room, input.op_id, request_hash))
}

fn delete_any(
    room: &RoomView,
    actor: &Actor,
    known: Option<&Entry>,
    if_match: Option<Seq>,
) -> Result<Change, Refusal> {
    let living = known.filter(|entry| entry.op == Op::Put);
    let delete = match living.map(|entry| &entry.kind) {
        Some(Kind::Other(_)) => return Err(UNSUPPORTED_KIND),
        // Where there is nothing to tell a kind by, it is a message that is missing.
        None | Some(Kind::Room | Kind::Member | Kind::Session | Kind::Message) => {
            engine::delete::<MessageState>
        }
    };
    delete(room, actor, known, if_match)
}

const UNSUPPORTED_KIND: Refusal = Refusal {
    code: ErrorCode::UnsupportedKind,
    sentence: "there is no such kind of item, or clients may not write it",
};
