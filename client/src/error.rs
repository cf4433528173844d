//! The errors of a call.

use roost_schema::{ErrorCode, Failure};
use std::{fmt::Display, time::Duration};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's answer: a code for programs and a sentence for people.
    #[error("{}: {}", .0.code.as_str(), .0.message)]
    Refused(Failure),
    /// The connection could not be made, or broke. The outcome of the call is unknown.
    #[error("no answer: {0}")]
    Disconnected(String),
    /// The answer did not come in time. The outcome of the call is unknown.
    #[error("no answer in time")]
    Late,
    /// The answer cannot be read.
    #[error("not understood: {0}")]
    Strange(String),
}

impl Error {
    /// The server's code, when it answered.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(failure) => Some(failure.code),
            Self::Disconnected(_) | Self::Late | Self::Strange(_) => None,
        }
    }

    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(failure) => failure.retry_after_ms.map(Duration::from_millis),
            Self::Disconnected(_) | Self::Late | Self::Strange(_) => None,
        }
    }

    /// Whether the same call, with the same operation id, may succeed later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(failure) => failure.code.is_retryable(),
            Self::Disconnected(_) | Self::Late => true,
            Self::Strange(_) => false,
        }
    }

    pub(crate) fn strange(problem: impl Display) -> Self {
        Self::Strange(format!("{problem}"))
    }

    pub(crate) fn disconnected(problem: impl Display) -> Self {
        Self::Disconnected(format!("{problem}"))
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Late;
        }
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        Self::Disconnected(format!("{error}: {cause}"))
    }
}

impl From<tokio_tungstenite::tungstenite::Error> for Error {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::disconnected(error)
    }
}
