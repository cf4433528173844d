//! The messages and close codes of `graphql-transport-ws`.

use super::http::Params;
use crate::{
    app::{Error, FENCED},
    transport::{STOPPING, inflow::Overrun},
};
use async_graphql::{Response, ServerError};
use axum::extract::ws::{CloseFrame, Utf8Bytes};
use roost_schema::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The client chooses the id of an operation; the server repeats it in each message.
const ID_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
    ConnectionInit { payload: Option<Map<String, Value>> },
    Ping { payload: Option<Map<String, Value>> },
    Pong {},
    Subscribe { id: String, payload: Params },
    Complete { id: String },
}

impl ClientMessage {
    pub(super) fn parse(text: &str) -> Result<Self, Ending> {
        let message: Self = serde_json::from_str(text).map_err(|_| Ending::BAD_MESSAGE)?;
        match &message {
            Self::Subscribe { id, .. } | Self::Complete { id }
                if id.is_empty() || id.len() > ID_BYTES_MAX =>
            {
                Err(Ending::BAD_MESSAGE)
            }
            _ => Ok(message),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'a> {
    ConnectionAck,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
    },
    Next {
        id: &'a str,
        payload: &'a Response,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// Why a socket is closed: the protocol's code, and a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    code: u16,
    reason: &'static str,
}

impl Ending {
    /// The client closed, or is silent.
    pub(super) const GONE: Self = Self::new(1000, "Goodbye");
    pub(super) const INTERNAL: Self = Self::new(1011, "Something broke on our side");
    pub(super) const RESTARTING: Self = Self::new(1012, "The server is stopping");
    pub(super) const TRY_LATER: Self = Self::new(1013, "Try again later");
    pub(super) const FULL: Self = Self::new(1013, "Too much arrives");
    pub(super) const BAD_MESSAGE: Self = Self::new(4400, "Bad message");
    pub(super) const UNAUTHORIZED: Self = Self::new(4401, "Unauthorized");
    pub(super) const FORBIDDEN: Self = Self::new(4403, "Forbidden");
    pub(super) const EXPIRED: Self = Self::new(4403, "The access token has expired");
    pub(super) const REVOKED: Self = Self::new(4403, "The session was ended");
    pub(super) const WRONG_SUBPROTOCOL: Self = Self::new(4406, "Subprotocol not acceptable");
    pub(super) const INIT_TIMEOUT: Self = Self::new(4408, "Connection initialisation timeout");
    pub(super) const DUPLICATE_ID: Self = Self::new(4409, "Subscriber for this id already exists");
    pub(super) const SECOND_INIT: Self = Self::new(4429, "Too many initialisation requests");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// The close code for a token that was refused, or that could not be checked.
    pub(super) const fn of_refusal(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Internal => Self::INTERNAL,
            code if code.is_retryable() => Self::TRY_LATER,
            _ => Self::FORBIDDEN,
        }
    }

    pub(super) const fn of_overrun(overrun: Overrun) -> Self {
        match overrun {
            Overrun::Full => Self::FULL,
            Overrun::TooLong => Self::BAD_MESSAGE,
        }
    }

    /// Whether the close code means that every operation was answered before it.
    pub(super) fn follows_answers(self) -> bool {
        [Self::RESTARTING, Self::TRY_LATER, Self::EXPIRED].contains(&self)
    }

    /// The error of a new operation on a socket that is about to be closed with this code.
    pub(super) fn refusal(self) -> Error {
        match self {
            Self::TRY_LATER => FENCED,
            Self::EXPIRED => Error::unauthenticated(),
            _ => STOPPING,
        }
    }

    pub(super) fn frame(self) -> CloseFrame {
        CloseFrame {
            code: self.code,
            reason: Utf8Bytes::from_static(self.reason),
        }
    }
}
