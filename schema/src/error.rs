//! The codes a program can match on, the same on every transport.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $status:literal, $retry:literal;)+) => {
        /// What went wrong, in a word a program can match on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl ErrorCode {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The HTTP status REST answers with.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// Whether the same request may succeed later.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry),+ }
            }

            /// The meaning of the code, for `docs/errors.md`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

codes! {
    /// The request cannot be read: broken JSON, a wrong type, an unknown field or argument.
    Malformed = "malformed", 400, false;
    /// There is no access token, or it is not one of ours, or it has expired: refresh or sign in.
    Unauthenticated = "unauthenticated", 401, false;
    /// The e-mail address and the password do not belong together.
    WrongCredentials = "wrong_credentials", 401, false;
    /// The session was ended, by its person or because an old refresh token was used again: sign in.
    SessionRevoked = "session_revoked", 401, false;
    /// You are a member, and your role does not allow this.
    Forbidden = "forbidden", 403, false;
    /// It does not exist, or not for you.
    NotFound = "not_found", 404, false;
    /// This path does not know the HTTP method.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// The request did not arrive in time.
    Timeout = "timeout", 408, true;
    /// It exists already, or the present state does not allow the change.
    Conflict = "conflict", 409, false;
    /// The room is archived and takes no changes.
    Archived = "archived", 409, false;
    /// The last owner can neither leave nor become less: name another owner first.
    LastOwner = "last_owner", 409, false;
    /// The position belongs to another life of the journal: load the room anew, without a position.
    ReloadRequired = "reload_required", 410, false;
    /// The item has changed since the version in `If-Match`: read it again.
    Stale = "stale", 412, false;
    /// The request, message, frame or page is larger than its limit.
    TooLarge = "too_large", 413, false;
    /// The body must be `application/json`.
    UnsupportedMediaType = "unsupported_media_type", 415, false;
    /// A value breaks a rule; the sentence names the field and the rule.
    Invalid = "invalid", 422, false;
    /// There is no such kind of item, or clients may not write it.
    UnsupportedKind = "unsupported_kind", 422, false;
    /// The same operation id was used with another request before.
    OpIdReused = "op_id_reused", 422, false;
    /// A limit on how many of something one may have is reached.
    LimitReached = "limit_reached", 422, false;
    /// Too many requests from this address or account: wait as long as the answer says.
    RateLimited = "rate_limited", 429, true;
    /// A fault of ours. The request id finds it in the log.
    Internal = "internal", 500, false;
    /// What is stored of the room is not what was written: it is neither read nor written until an operator has mended it.
    Corrupt = "corrupt", 500, false;
    /// The server is full at the moment: this operation wrote nothing; wait as long as the answer says.
    Overloaded = "overloaded", 503, true;
    /// A store cannot be reached, or the server is stopping: this operation wrote nothing; try again.
    Unavailable = "unavailable", 503, true;
    /// The write may or may not have happened: repeat it with the same operation id to find out.
    OutcomeUnknown = "outcome_unknown", 503, true;
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("What went wrong, in a word a program can match on."))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ErrorCode {}

#[cfg(feature = "graphql")]
crate::word::graphql_string!(ErrorCode);

/// The error of every transport: REST carries it in a problem document, GraphQL in `extensions`,
/// Socket.IO in the acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    pub code: ErrorCode,
    /// A sentence for people.
    pub message: String,
    /// When to try again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
