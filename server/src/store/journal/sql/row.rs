//! How an entry is written as a row and read back.

use crate::store::journal::{
    Entry, RequestHash, Result, Terms,
    encoding::{said, seq_from, signed, unreadable, unsound},
    seal::{Content, KeptSeal, Row, Seal},
};
use chrono::DateTime;
use roost_schema::{ItemId, Kind, OpId, RoomId, Seq, UserId};
use sea_orm::{DbErr, QueryResult, Value};

/// The columns that `entry` reads, qualified by the journal's alias `j`.
pub(super) const COLUMNS: &str = "j.seq, j.item, j.kind, j.op, j.actor, j.op_id, j.request_hash, \
                                  j.asked_hash, j.at_ms, j.born, j.is_current, j.size_bytes, j.body, j.terms, \
                                  j.salt, j.body_hash, j.row_hash";

/// How many values an entry has, without `is_current`.
pub(super) const VALUES: usize = 16;

/// Reads a row of [`COLUMNS`]. A kind or an op of another release is kept as text.
pub(super) fn entry(room: RoomId, row: &QueryResult) -> Result<Entry> {
    let seal = seal(row);
    let is_sealed = seal.as_ref().is_ok_and(|seal| !seal.is_absent());
    seal.and_then(|seal| read(room, row, &seal))
        .map_err(|error| unreadable(room, get(row, "seq").ok(), is_sealed, &error))
}

fn seal(row: &QueryResult) -> Result<KeptSeal> {
    Ok(KeptSeal {
        salt: get(row, "salt")?,
        body_hash: get(row, "body_hash")?,
        row_hash: get(row, "row_hash")?,
    })
}

fn read(room: RoomId, row: &QueryResult, seal: &KeptSeal) -> Result<Entry> {
    let kind: String = get(row, "kind")?;
    let op: String = get(row, "op")?;
    let op_id: Option<String> = get(row, "op_id")?;
    let hash: Vec<u8> = get(row, "request_hash")?;
    let asked: Option<Vec<u8>> = get(row, "asked_hash")?;
    let body: Option<String> = get(row, "body")?;
    let terms: Option<String> = get(row, "terms")?;
    let terms = terms.map_or(Ok(Terms::default()), |text| Terms::from_text(&text));
    let terms = terms.map_err(unsound)?;
    let stored = Row {
        room,
        seq: get(row, "seq")?,
        item: get(row, "item")?,
        kind: &kind,
        op: &op,
        actor: get(row, "actor")?,
        at_ms: get(row, "at_ms")?,
        born: get(row, "born")?,
    };
    let content = body.as_deref().map(|body| Content {
        body,
        op_id: op_id.as_deref(),
        request_hash: &hash,
        asked_hash: asked.as_deref(),
        terms: &terms,
    });
    seal.check(&stored, content.as_ref()).map_err(unsound)?;
    check_size(seal, get(row, "size_bytes")?, body.as_deref())?;
    let current: bool = get(row, "is_current")?;
    let is_emptied = !current && op_id.is_none();
    let (said_op, said_body) = said(&op, body, is_emptied)?;
    Ok(Entry {
        room,
        seq: seq_from(stored.seq)?,
        item: ItemId::from_uuid(stored.item),
        kind: Kind::from(kind.as_str()),
        op: said_op,
        body: said_body,
        actor: UserId::from_uuid(stored.actor),
        op_id: op_id.map(OpId::from_kept),
        request_hash: request_hash(hash)?,
        asked_hash: asked.map(request_hash).transpose()?,
        at: DateTime::from_timestamp_millis(stored.at_ms)
            .ok_or_else(|| unsound("a time is out of range"))?,
        born: seq_from(stored.born)?,
        terms,
        current,
    })
}

/// Checks the size that is stored beside a body, because pages are cut by it.
fn check_size(seal: &KeptSeal, size_bytes: i64, body: Option<&str>) -> Result<()> {
    match body {
        Some(body) if !seal.is_absent() && usize::try_from(size_bytes) != Ok(body.len()) => {
            Err(unsound("its size is not that of its body"))
        }
        _ => Ok(()),
    }
}

fn request_hash(bytes: Vec<u8>) -> Result<RequestHash> {
    let bytes = bytes
        .try_into()
        .map_err(|_| unsound("a request hash is not 32 bytes long"))?;
    Ok(RequestHash(bytes))
}

/// The values of one entry, in the order in which `append::write` names the columns, without the last column,
/// `is_current`.
pub(super) fn values(entry: &Entry) -> [Value; VALUES] {
    let body = entry.body.as_str();
    let seal = Seal::of(entry);
    [
        seq_value(entry.seq),
        entry.item.as_uuid().into(),
        entry.kind.as_str().into(),
        entry.op.as_str().into(),
        entry.actor.as_uuid().into(),
        entry.op_id.as_ref().map(ToString::to_string).into(),
        entry.request_hash.0.to_vec().into(),
        entry.asked_hash.map(|hash| hash.0.to_vec()).into(),
        entry.at.timestamp_millis().into(),
        seq_value(entry.born),
        size_value(body.len()),
        body.into(),
        entry.terms.to_text().into(),
        seal.salt.to_vec().into(),
        seal.body_hash.to_vec().into(),
        seal.row_hash.to_vec().into(),
    ]
}

pub(super) fn get<T: sea_orm::TryGetable>(row: &QueryResult, column: &str) -> Result<T> {
    row.try_get("", column)
        .map_err(|error: DbErr| unsound(error))
}

pub(super) fn seq_value(seq: Seq) -> Value {
    signed(seq.0).into()
}

pub(super) fn size_value(bytes: usize) -> Value {
    i64::try_from(bytes).unwrap_or(i64::MAX).into()
}
