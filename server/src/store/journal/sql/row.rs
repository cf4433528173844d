//! How an entry is written as a row and read back.

use crate::store::journal::{
    Entry, RequestHash, Result, Terms,
    encoding::{said, seq_from, signed, unreadable, unsound},
};
use chrono::DateTime;
use roost_schema::{ItemId, Kind, OpId, RoomId, Seq, UserId};
use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

/// The columns `entry` reads, qualified by the journal's alias `j`.
pub(super) const COLUMNS: &str = "j.seq, j.item, j.kind, j.op, j.actor, j.op_id, j.request_hash, \
                                  j.asked_hash, j.at_ms, j.born, j.is_current, j.body, j.terms";

/// Reads a row of [`COLUMNS`]. A kind or an op of another release is carried.
pub(super) fn entry(room: RoomId, row: &QueryResult) -> Result<Entry> {
    read(room, row).map_err(|error| unreadable(room, get(row, "seq").ok(), &error))
}

fn read(room: RoomId, row: &QueryResult) -> Result<Entry> {
    let kind: String = get(row, "kind")?;
    let op: String = get(row, "op")?;
    let op_id: Option<String> = get(row, "op_id")?;
    let hash: Vec<u8> = get(row, "request_hash")?;
    let asked: Option<Vec<u8>> = get(row, "asked_hash")?;
    let body: Option<String> = get(row, "body")?;
    let terms: Option<String> = get(row, "terms")?;
    let current: bool = get(row, "is_current")?;
    let (op, body) = said(&op, body, !current && op_id.is_none())?;
    Ok(Entry {
        room,
        seq: seq_from(get(row, "seq")?)?,
        item: ItemId::from_uuid(get::<Uuid>(row, "item")?),
        kind: Kind::from(kind.as_str()),
        op,
        body,
        actor: UserId::from_uuid(get::<Uuid>(row, "actor")?),
        op_id: op_id.map(OpId::from_kept),
        request_hash: request_hash(hash)?,
        asked_hash: asked.map(request_hash).transpose()?,
        at: DateTime::from_timestamp_millis(get(row, "at_ms")?)
            .ok_or_else(|| unsound("a time is out of range"))?,
        born: seq_from(get(row, "born")?)?,
        terms: match terms {
            Some(text) => Terms::from_text(&text).map_err(unsound)?,
            None => Terms::default(),
        },
        current,
    })
}

fn request_hash(bytes: Vec<u8>) -> Result<RequestHash> {
    let bytes = bytes
        .try_into()
        .map_err(|_| unsound("a request hash is not 32 bytes long"))?;
    Ok(RequestHash(bytes))
}

/// The values of one entry, in the order `append::write` names the columns; `is_current` comes last
/// there, and is not among them.
pub(super) fn values(entry: &Entry) -> [Value; 13] {
    let body = entry.body.as_str();
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
