//! The gate: whether a statement that makes entries durable may still be sent.
//!
//! A writer that is cut off must not write late. So a store asks after each of its waits (for a connection,
//! for an answer, for its turn in a queue), right before it sends, and with the longest time that the
//! statement may take: what is sent through an open gate is over before the gate is shut.

use super::{JournalError, Result};
use std::time::Duration;

/// How long a statement that makes entries durable may take, from the look at the gate until its answer is given
/// up. It is taken off the time that a look at the revocations is good for; so it is short, and longer than a
/// majority of `MongoDB` may take (2 s), so that it speaks only when the server does not.
pub const STATEMENT_MAX: Duration = Duration::from_secs(3);

/// Says whether this instance may still write.
pub trait Gate: Send + Sync {
    /// Whether a statement that takes as long as this may be sent now.
    fn is_open_for(&self, longest: Duration) -> bool;
}

/// A gate that is never shut: for operators' commands, and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn is_open_for(&self, _: Duration) -> bool {
        true
    }
}

/// The last look before sending. Nothing was written when it errs.
pub(super) fn pass(gate: &dyn Gate, longest: Duration) -> Result<()> {
    if gate.is_open_for(longest) {
        Ok(())
    } else {
        Err(JournalError::Fenced)
    }
}
