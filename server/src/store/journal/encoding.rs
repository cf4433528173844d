//! The encoding that both stores share.

use super::{JournalError, Result};
use roost_schema::{Body, Op, RoomId, Seq};

/// The op and the body of a stored entry. An emptied entry has no body and reads as a deletion; such an entry is
/// neither current nor has an op id. Any other entry without a body has lost it, which is an error and never a
/// deletion.
pub(super) fn said(op: &str, body: Option<String>, is_emptied: bool) -> Result<(Op, Body)> {
    match body {
        Some(text) => Ok((op.into(), Body::from_text(text).map_err(unsound)?)),
        None if is_emptied => Ok((Op::Delete, Body::null())),
        None => Err(unsound("it has no body, and was not emptied")),
    }
}

/// Names the entry that cannot be read. A sealed entry could be read when it was written, so it is corrupt.
pub(super) fn unreadable(
    room: RoomId,
    seq: Option<i64>,
    is_sealed: bool,
    error: &JournalError,
) -> JournalError {
    let problem = match error {
        JournalError::Unsound(problem) => problem.clone(),
        other => other.to_string(),
    };
    match seq.map(seq_from) {
        Some(Ok(seq)) if is_sealed => JournalError::Corrupt { room, seq, problem },
        Some(Ok(seq)) => unsound(format!(
            "entry {seq} of room {room} cannot be read: {problem}"
        )),
        _ => unsound(format!("an entry of room {room} cannot be read: {problem}")),
    }
}

/// A seq or an epoch as the stores keep it; both stay far below 63 bits.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn seq_from(number: i64) -> Result<Seq> {
    u64::try_from(number).map(Seq).map_err(unsound)
}

/// The error for stored data that cannot be read.
#[expect(
    clippy::needless_pass_by_value,
    reason = "map_err gives it an owned error"
)]
pub(super) fn unsound(error: impl ToString) -> JournalError {
    JournalError::Unsound(error.to_string())
}
