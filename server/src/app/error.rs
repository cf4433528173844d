//! The one error every use case returns, and the code and sentence clients see for it.

use super::FENCED;
use crate::{
    live::{LiveError, Refusal},
    store::{StoreError, journal::JournalError},
};
use roost_schema::{ErrorCode, Failure};
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// When to come back after a store could not be reached.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(1);

/// The journal logs which entry it is.
const CORRUPT: Error = Error::refused(
    ErrorCode::Corrupt,
    "what is stored of this room is damaged; it is served again once an operator has mended it",
);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A refusal whose code and sentence need nothing more.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{field} {problem}")]
    Invalid {
        field: &'static str,
        problem: &'static str,
    },
    /// The body of an item does not fit its kind.
    #[error("body: {0}")]
    InvalidBody(String),
    /// The same request may succeed later; nothing was written.
    #[error("{sentence}")]
    Later {
        code: ErrorCode,
        sentence: &'static str,
        retry_after: Duration,
    },
    #[error("the write may or may not have happened; repeat it with the same operation id")]
    OutcomeUnknown(#[source] anyhow::Error),
    #[error("a store cannot be reached; this operation wrote nothing")]
    Unavailable(#[source] anyhow::Error),
    #[error("something broke on our side")]
    Internal(#[source] anyhow::Error),
}

impl Error {
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Later { code, .. } => *code,
            Self::Invalid { .. } | Self::InvalidBody(_) => ErrorCode::Invalid,
            Self::OutcomeUnknown(_) => ErrorCode::OutcomeUnknown,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// The failure as the client sees it. Logs the cause of an internal error, because the error stops here.
    pub fn report(&self) -> Failure {
        match self {
            Self::Internal(cause) => tracing::error!(error = ?cause, "request failed"),
            Self::Unavailable(cause) | Self::OutcomeUnknown(cause) => {
                tracing::warn!(error = ?cause, "a store did not answer");
            }
            _ => {}
        }
        Failure {
            code: self.code(),
            message: self.to_string(),
            retry_after_ms: self.retry_after().map(millis),
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Later { retry_after, .. } => Some(*retry_after),
            Self::OutcomeUnknown(_) | Self::Unavailable(_) => Some(RETRY_UNAVAILABLE),
            _ => None,
        }
    }

    pub const fn refused(code: ErrorCode, sentence: &'static str) -> Self {
        Self::Refused(Refusal { code, sentence })
    }

    /// The error of a field that was read beside a use case. It must not read as if the use case itself had failed,
    /// because that may be done.
    pub(crate) fn beside(self) -> Self {
        match self {
            Self::Unavailable(cause) => {
                tracing::warn!(error = ?cause, "a store did not answer");
                Self::Later {
                    code: ErrorCode::Unavailable,
                    sentence: "a store cannot be reached; this field was not read, and the rest stands",
                    retry_after: RETRY_UNAVAILABLE,
                }
            }
            other => other,
        }
    }

    pub const fn unauthenticated() -> Self {
        Self::refused(
            ErrorCode::Unauthenticated,
            "sign in, or refresh the access token",
        )
    }

    pub const fn not_found(sentence: &'static str) -> Self {
        Self::refused(ErrorCode::NotFound, sentence)
    }

    pub const fn conflict(sentence: &'static str) -> Self {
        Self::refused(ErrorCode::Conflict, sentence)
    }
}

/// Rounds up, so that a client that waits exactly this long is not too early.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) | StoreError::Contended(cause) => {
                Self::Unavailable(cause)
            }
            StoreError::OutcomeUnknown(cause) => Self::OutcomeUnknown(cause),
            StoreError::Broken(cause) => Self::Internal(cause),
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::OutcomeUnknown(cause) => Self::OutcomeUnknown(cause),
            JournalError::Unavailable(cause) => Self::Unavailable(cause),
            JournalError::Fenced => FENCED,
            unsound @ JournalError::Unsound(_) => Self::Internal(unsound.into()),
            JournalError::Corrupt { .. } => CORRUPT,
        }
    }
}

impl From<LiveError> for Error {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Refused(refusal) => Self::Refused(refusal),
            LiveError::Overloaded { retry_after } => Self::Later {
                code: ErrorCode::Overloaded,
                sentence: "the server is full at the moment; this operation wrote nothing",
                retry_after,
            },
            LiveError::ReloadRequired => Self::refused(
                ErrorCode::ReloadRequired,
                "the position belongs to another life of the journal; load the room anew",
            ),
            LiveError::OutcomeUnknown => Self::OutcomeUnknown(anyhow::anyhow!(
                "the journal did not say what became of a batch"
            )),
            LiveError::Unavailable => {
                Self::Unavailable(anyhow::anyhow!("the journal does not answer"))
            }
            LiveError::Fenced => FENCED,
            LiveError::Unsound => Self::Internal(anyhow::anyhow!(
                "what the journal holds of the room cannot be read"
            )),
            LiveError::Corrupt => CORRUPT,
        }
    }
}
