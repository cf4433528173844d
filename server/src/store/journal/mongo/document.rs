//! How an entry is written as a document and read back.

use crate::store::journal::{
    Entry, RequestHash, Result, Terms,
    encoding::{said, seq_from, signed, unreadable, unsound},
    seal::{Content, KeptSeal, Row, Seal},
};
use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use chrono::DateTime;
use roost_schema::{ItemId, Kind, OpId, RoomId, Seq, Term, UserId};
use uuid::Uuid;

/// A character that is in neither a UUID nor an op id.
const OPERATION_SEPARATOR: char = '/';

/// The document of an entry, always current: older entries are cleared after it is inserted. The slot is the `_id`,
/// too. An entry without an op id has its seq as the operation: a number, which equals no operation's text.
pub(super) fn document(entry: &Entry) -> Document {
    let operation = match &entry.op_id {
        Some(op_id) => operation(entry.actor, op_id).into(),
        None => Bson::Int64(signed(entry.seq.0)),
    };
    let mut document = doc! {
        "_id": slot(entry.room, entry.seq),
        "room": uuid(entry.room.as_uuid()),
        "seq": signed(entry.seq.0),
        "item": uuid(entry.item.as_uuid()),
        "kind": entry.kind.as_str(),
        "op": entry.op.as_str(),
        "actor": uuid(entry.actor.as_uuid()),
        "operation": operation,
        "hash": generic(entry.request_hash.0.to_vec()),
        "at": entry.at.timestamp_millis(),
        "born": signed(entry.born.0),
        "current": true,
        "body": entry.body.as_str(),
    };
    let seal = Seal::of(entry);
    document.insert("salt", generic(seal.salt.to_vec()));
    document.insert("bodyHash", generic(seal.body_hash.to_vec()));
    document.insert("rowHash", generic(seal.row_hash.to_vec()));
    if let Some(asked) = entry.asked_hash {
        document.insert("asked", generic(asked.0.to_vec()));
    }
    if !entry.terms.is_empty() {
        let terms: Vec<_> = entry.terms.iter().map(Term::as_str).collect();
        document.insert("terms", terms);
    }
    document
}

/// The room's id and the seq, most significant byte first.
pub(super) fn slot(room: RoomId, seq: Seq) -> Binary {
    generic([room.as_uuid().as_bytes().as_slice(), &seq.0.to_be_bytes()].concat())
}

/// Actor and op id in one field, so that one `$in` looks up any number of operations.
pub(super) fn operation(actor: UserId, op_id: &OpId) -> String {
    format!("{actor}{OPERATION_SEPARATOR}{op_id}")
}

fn op_id_of(operation: &str) -> Option<&str> {
    let (_, op_id) = operation.split_once(OPERATION_SEPARATOR)?;
    Some(op_id)
}

pub(super) fn generic(bytes: Vec<u8>) -> Binary {
    let subtype = BinarySubtype::Generic;
    Binary { subtype, bytes }
}

/// Reads a document. A kind or an op of another release is kept as text.
pub(super) fn entry(room: RoomId, document: &Document) -> Result<Entry> {
    let seal = seal(document);
    let is_sealed = !seal.is_absent();
    let read = read(room, document, &seal);
    read.map_err(|error| unreadable(room, document.get_i64("seq").ok(), is_sealed, &error))
}

fn seal(document: &Document) -> KeptSeal {
    let bytes = |field| document.get_binary_generic(field).ok().cloned();
    KeptSeal {
        salt: bytes("salt"),
        body_hash: bytes("bodyHash"),
        row_hash: bytes("rowHash"),
    }
}

fn read(room: RoomId, document: &Document, seal: &KeptSeal) -> Result<Entry> {
    let number = |field| document.get_i64(field).map_err(unsound);
    let text = |field| document.get_str(field).map_err(unsound);
    let body = document.get_str("body").ok();
    let hash = document.get_binary_generic("hash").map_err(unsound)?;
    let asked = document.get_binary_generic("asked").ok();
    let operation = document.get_str("operation").ok();
    let op_id = operation.and_then(op_id_of);
    let terms = terms(document)?;
    let stored = Row {
        room,
        seq: number("seq")?,
        item: uuid_from(document, "item")?,
        kind: text("kind")?,
        op: text("op")?,
        actor: uuid_from(document, "actor")?,
        at_ms: number("at")?,
        born: number("born")?,
    };
    let content = body.map(|body| Content {
        body,
        op_id,
        request_hash: hash,
        asked_hash: asked.map(Vec::as_slice),
        terms: &terms,
    });
    seal.check(&stored, content.as_ref()).map_err(unsound)?;
    check_keys(&stored, document, operation)?;
    let current = document.get_bool("current").map_err(unsound)?;
    let is_emptied = !current && op_id.is_none();
    let (op, body) = said(stored.op, body.map(str::to_owned), is_emptied)?;
    Ok(Entry {
        room,
        seq: seq_from(stored.seq)?,
        item: ItemId::from_uuid(stored.item),
        kind: Kind::from(stored.kind),
        op,
        body,
        actor: UserId::from_uuid(stored.actor),
        op_id: op_id.map(|op_id| OpId::from_kept(op_id.to_owned())),
        request_hash: request_hash(hash)?,
        asked_hash: asked.map(|bytes| request_hash(bytes)).transpose()?,
        at: DateTime::from_timestamp_millis(stored.at_ms)
            .ok_or_else(|| unsound("a time is out of range"))?,
        born: seq_from(stored.born)?,
        terms,
        current,
    })
}

/// Checks that the fields which an index needs a second time agree with the first.
fn check_keys(stored: &Row, document: &Document, operation: Option<&str>) -> Result<()> {
    let actor = UserId::from_uuid(stored.actor).to_string();
    let is_actor = operation
        .and_then(|operation| operation.split_once(OPERATION_SEPARATOR))
        .is_none_or(|(by, _)| by == actor);
    let is_slot =
        document.get("_id") == Some(&Bson::Binary(slot(stored.room, seq_from(stored.seq)?)));
    if is_actor && is_slot {
        return Ok(());
    }
    Err(unsound("its keys are not those of its fields"))
}

fn terms(document: &Document) -> Result<Terms> {
    match document.get("terms") {
        Some(terms) => bson::deserialize_from_bson(terms.clone()).map_err(unsound),
        None => Ok(Terms::default()),
    }
}

fn request_hash(bytes: &[u8]) -> Result<RequestHash> {
    Ok(RequestHash(bytes.try_into().map_err(unsound)?))
}

/// A UUID as BSON's own type; a plain `Uuid` would be written as text.
pub(super) fn uuid(id: Uuid) -> Bson {
    bson::Uuid::from(id).into()
}

pub(super) fn uuid_from(document: &Document, field: &str) -> Result<Uuid> {
    match document.get(field) {
        Some(Bson::Binary(binary)) => binary.to_uuid().map(Into::into).map_err(unsound),
        _ => Err(unsound(format!("{field} is not a UUID"))),
    }
}
