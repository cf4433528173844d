//! The gate: whether a statement that makes entries durable may still be sent.
//!
//! A writer that is cut off must not write late. So a store asks the gate after each wait (for a connection, for an
//! answer, for its turn in a queue), right before it sends, and names the longest time that the statement may take. A
//! statement that an open gate admits is over before the gate shuts.

use super::{JournalError, Result};
use std::time::Duration;

/// The longest time from asking the gate until the statement's answer is given up. It shortens the time for which a
/// read of the revocations admits writes, so it is short. It exceeds the 2 s that a majority of `MongoDB` may take, so
/// that it only ends statements whose server does not answer.
pub const STATEMENT_MAX: Duration = Duration::from_secs(3);

/// Decides whether this instance may still write.
pub trait Gate: Send + Sync {
    /// Whether a statement that may take this long may be sent now.
    fn is_open_for(&self, longest: Duration) -> bool;
}

/// A gate that is always open: for operators' commands and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn is_open_for(&self, _: Duration) -> bool {
        true
    }
}

/// Asks the gate right before a statement is sent. After an error nothing was written.
pub(super) fn pass(gate: &dyn Gate, longest: Duration) -> Result<()> {
    if gate.is_open_for(longest) {
        Ok(())
    } else {
        Err(JournalError::Fenced)
    }
}
