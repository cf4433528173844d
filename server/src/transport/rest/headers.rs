//! The headers that carry conditions and operation ids: `Idempotency-Key`, `ETag`, `If-Match`.

use super::{Json, Problem, extract::malformed};
use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION},
        request::Parts,
    },
    response::IntoResponse,
};
use roost_schema::{OpId, Seq};
use serde::Serialize;
use std::convert::Infallible;
use utoipa::IntoParams;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// No item ever has this version: seqs begin at 1. Stands for a tag that cannot be one of ours.
const NO_VERSION: Seq = Seq::ZERO;

/// The operation id of the `Idempotency-Key` header, plain or quoted as a structured field
/// (draft-ietf-httpapi-idempotency-key-header).
#[derive(IntoParams)]
#[into_params(parameter_in = Header, names("Idempotency-Key"))]
pub(super) struct IdempotencyKey(
    /// Names this operation, so that repeating the request has one effect.
    #[param(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 66,
        pattern = "^((?!roost\\.)[A-Za-z0-9._:-]{1,64}|\"(?!roost\\.)[A-Za-z0-9._:-]{1,64}\")$"
    )]
    Option<OpId>,
);

impl IdempotencyKey {
    /// The one operation id of a request whose body may carry one too.
    pub(super) fn or(self, in_body: Option<OpId>) -> Result<Option<OpId>, Problem> {
        match (self.0, in_body) {
            (Some(header), Some(body)) if header != body => Err(malformed(
                "Idempotency-Key and the body's opId differ; give one of them".to_owned(),
            )),
            (header, body) => Ok(header.or(body)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(text) = only(&parts.headers, &HeaderName::from_static(IDEMPOTENCY_KEY))? else {
            return Ok(Self(None));
        };
        unquoted(text)
            .unwrap_or(text)
            .parse()
            .map(|op_id| Self(Some(op_id)))
            .map_err(|problem| malformed(format!("Idempotency-Key {problem}")))
    }
}

/// `If-Match`: the version an item must still have.
#[derive(IntoParams)]
#[into_params(parameter_in = Header, names("If-Match"))]
pub(super) struct IfMatch(
    /// The `ETag` the message must still have, or `*`. Compared strongly.
    #[param(value_type = String, required = false, min_length = 1, pattern = r#"^(\*|(W/)?"[!#-~]*")$"#)]
    pub(super) Option<Seq>,
);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match only(&parts.headers, &IF_MATCH)? {
            // Any version will do. The use case checks whether the item exists.
            None | Some("*") => Ok(Self(None)),
            Some(text) => version(text).map(|seq| Self(Some(seq))).ok_or_else(|| {
                malformed("If-Match must be one entity tag in quotes, or *".to_owned())
            }),
        }
    }
}

/// The version an entity tag names; `None` when it is not an entity tag. A weak tag never matches
/// in a strong comparison (RFC 9110 §8.8.3.2).
fn version(tag: &str) -> Option<Seq> {
    if let Some(weak) = tag.strip_prefix("W/") {
        return unquoted(weak).map(|_| NO_VERSION);
    }
    let text = unquoted(tag)?;
    let seq = text.parse().map_or(NO_VERSION, Seq);
    // "07" and "+7" are other tags than "7".
    Some(if seq.to_string() == text {
        seq
    } else {
        NO_VERSION
    })
}

/// What stands between the quotes of an entity tag or a structured string.
fn unquoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    inner
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"')
        .then_some(inner)
}

/// `If-None-Match`: the versions a reader has already. What cannot be read matches nothing.
#[derive(IntoParams)]
#[into_params(parameter_in = Header, names("If-None-Match"))]
pub(super) struct IfNoneMatch(
    /// `ETag`s the reader has; when the message still has one of them, the answer is 304.
    #[param(value_type = String, required = false)]
    Option<String>,
);

impl IfNoneMatch {
    /// Compares weakly (RFC 9110 §13.1.2).
    pub(super) fn knows(&self, seq: Seq) -> bool {
        let ours = format!("\"{seq}\"");
        self.0.as_deref().is_some_and(|tags| {
            tags.split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == ours)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let tags = parts.headers.get_all(IF_NONE_MATCH).iter();
        let tags: Vec<_> = tags.filter_map(|value| value.to_str().ok()).collect();
        Ok(Self((!tags.is_empty()).then(|| tags.join(","))))
    }
}

/// The `ETag` header of a version.
pub(super) fn etag(seq: Seq) -> [(HeaderName, String); 1] {
    [(ETAG, format!("\"{seq}\""))]
}

/// The answer to a request that made something: 201 and where it is.
pub(super) fn created<T: Serialize>(location: String, body: T) -> impl IntoResponse {
    (StatusCode::CREATED, [(LOCATION, location)], Json(body))
}

/// The header's one value; twice the same header, or bytes outside ASCII, cannot be read.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let unreadable = || malformed(format!("{name} cannot be read"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|text| Some(text.trim()))
            .map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_strong_tags_name_a_version() {
        assert_eq!(version("\"7\""), Some(Seq(7)));
        for other in ["W/\"7\"", "\"07\"", "\"+7\"", "\"\"", "\"abc\""] {
            assert_eq!(version(other), Some(NO_VERSION), "{other}");
        }
        for malformed in ["7", "\"7", "W/7", "\"7\", \"8\"", "\"a b\"", ""] {
            assert_eq!(version(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_reader_that_has_the_version_gets_not_modified() {
        let knows = |tags: &str| IfNoneMatch(Some(tags.to_owned())).knows(Seq(7));
        assert!(knows("\"7\"") && knows("W/\"7\"") && knows("\"1\", \"7\"") && knows("*"));
        assert!(!knows("\"8\"") && !knows("7") && !IfNoneMatch(None).knows(Seq(7)));
    }
}
