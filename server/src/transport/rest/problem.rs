//! Errors as problem documents (RFC 9457).

use crate::{
    app::{Api, Error},
    transport::{refusal_metrics, request::current},
};
use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use roost_schema::{ErrorCode, Failure};
use serde::Serialize;
use std::sync::Arc;
use utoipa::{
    ToResponse, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder},
};

const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

/// Characters of a problem's sentence, which may quote what the client sent.
const DETAIL_CHARS_MAX: usize = 300;

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Names the kind of problem, as `urn:roost:error:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// What every problem of this kind has in common.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A sentence on this occurrence.
    detail: String,
    code: ErrorCode,
    /// When to try again, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = false, minimum = 0)]
    retry_after_ms: Option<u64>,
    /// Finds the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    request_id: Option<Arc<str>>,
    /// The instance that refused, as in the header `x-roost-instance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    instance: Option<Arc<str>>,
}

impl Problem {
    pub fn new(code: ErrorCode, sentence: impl Into<String>) -> Self {
        Self::from(Failure {
            code,
            message: sentence.into(),
            retry_after_ms: None,
        })
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let (id, instance) = current()
            .map(|current| (current.id, current.instance))
            .unzip();
        Self {
            kind: format!("urn:roost:error:{}", failure.code.as_str()),
            title: failure.code.meaning().trim(),
            status: failure.code.http_status(),
            detail: failure.message.chars().take(DETAIL_CHARS_MAX).collect(),
            code: failure.code,
            retry_after_ms: failure.retry_after_ms,
            request_id: id,
            instance,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.report().into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        refusal_metrics::count(
            current().map_or(Api::Rest, |current| current.api),
            self.code,
        );
        let mut response = (self.status(), Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        if let Some(wait) = self.retry_after_ms {
            headers.insert(RETRY_AFTER, wait.div_ceil(1_000).max(1).into());
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl<'r> ToResponse<'r> for Problem {
    fn response() -> (&'r str, RefOr<utoipa::openapi::Response>) {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let response = ResponseBuilder::new()
            .description("Why the request was refused; `code` says it to programs.")
            .content(CONTENT_TYPE_PROBLEM, content)
            .build();
        ("Problem", response.into())
    }
}
