//! What both stores write in the same way.

use super::{JournalError, Result};
use roost_schema::{Op, Seq};

pub(super) const fn op_text(op: Op) -> &'static str {
    match op {
        Op::Put => "put",
        Op::Delete => "delete",
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
