//! What both stores write in the same way.

use super::{JournalError, Result};
use roost_schema::{Body, Op, RoomId, Seq};

/// What a stored entry says of its item. An entry without a body was emptied, which reads as a deletion; but an emptied
/// one is neither current nor has an op id: any other that has no body lost it, and nothing may be concluded from that.
pub(super) fn said(op: &str, body: Option<String>, is_emptied: bool) -> Result<(Op, Body)> {
    match body {
        Some(text) => Ok((op.into(), Body::from_text(text).map_err(unsound)?)),
        None if is_emptied => Ok((Op::Delete, Body::null())),
        None => Err(unsound("it has no body, and was not emptied")),
    }
}

/// Says which entry it is that cannot be read. One that was sealed could be read when it was written.
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

/// Seqs and epochs never come near the 63 bits the stores have for them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn seq_from(number: i64) -> Result<Seq> {
    u64::try_from(number).map(Seq).map_err(unsound)
}

/// What is stored cannot be read back.
#[expect(
    clippy::needless_pass_by_value,
    reason = "map_err gives it an owned error"
)]
pub(super) fn unsound(error: impl ToString) -> JournalError {
    JournalError::Unsound(error.to_string())
}
