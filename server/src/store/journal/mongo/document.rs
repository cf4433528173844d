//! How an entry is written as a document and read back.

use crate::store::journal::{
    Entry, RequestHash, Result,
    encoding::{op_text, seq_from, signed, unsound},
};
use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use chrono::DateTime;
use roost_schema::{Body, ItemId, Op, OpId, RoomId, UserId};
use uuid::Uuid;

/// The document of an entry, always current: older ones are cleared after it is there. A missing op
/// id is a missing field, because the unique index covers only documents that have one.
pub(super) fn document(entry: &Entry) -> Document {
    let mut document = doc! {
        "room": uuid(entry.room.as_uuid()),
        "seq": signed(entry.seq.0),
        "item": uuid(entry.item.as_uuid()),
        "kind": entry.kind.as_str(),
        "op": op_text(entry.op),
        "actor": uuid(entry.actor.as_uuid()),
        "hash": Binary { subtype: BinarySubtype::Generic, bytes: entry.request_hash.0.to_vec() },
        "at": entry.at.timestamp_millis(),
        "born": signed(entry.born.0),
        "current": true,
        "body": entry.body.as_str(),
    };
    if let Some(op_id) = &entry.op_id {
        document.insert("opId", op_id.to_string());
    }
    document
}

/// Reads a document. One without a body was emptied: a deletion, and not current.
pub(super) fn entry(room: RoomId, document: &Document) -> Result<Entry> {
    let seq = |field| seq_from(document.get_i64(field).map_err(unsound)?);
    let text = |field| document.get_str(field).map_err(unsound);
    let optional = |field| document.get_str(field).ok().map(str::to_owned);
    let body = optional("body");
    let hash = document.get_binary_generic("hash").map_err(unsound)?;
    let is_put = body.is_some() && text("op")? == op_text(Op::Put);
    Ok(Entry {
        room,
        seq: seq("seq")?,
        item: ItemId::from_uuid(uuid_from(document, "item")?),
        kind: text("kind")?.parse().map_err(unsound)?,
        op: if is_put { Op::Put } else { Op::Delete },
        body: body
            .map_or_else(|| Ok(Body::null()), Body::from_text)
            .map_err(unsound)?,
        actor: UserId::from_uuid(uuid_from(document, "actor")?),
        op_id: optional("opId").map(OpId::from_kept),
        request_hash: RequestHash(hash.as_slice().try_into().map_err(unsound)?),
        at: DateTime::from_timestamp_millis(document.get_i64("at").map_err(unsound)?)
            .ok_or_else(|| unsound("a time is out of range"))?,
        born: seq("born")?,
        current: document.get_bool("current").map_err(unsound)?,
    })
}

/// As BSON's own UUID type; a plain one would be written as text.
pub(super) fn uuid(id: Uuid) -> Bson {
    bson::Uuid::from(id).into()
}

pub(super) fn uuid_from(document: &Document, field: &str) -> Result<Uuid> {
    match document.get(field) {
        Some(Bson::Binary(binary)) => binary.to_uuid().map(Into::into).map_err(unsound),
        _ => Err(unsound(format!("{field} is not a UUID"))),
    }
}
