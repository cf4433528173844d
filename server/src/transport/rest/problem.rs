//! Errors as problem documents (RFC 9457).

use crate::app::Error;
use axum::{
    Json,
    extract::Request,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use roost_schema::{ErrorCode, Failure};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::{
    ToResponse, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder},
};

pub(super) const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

/// A sentence may quote what the client sent; this much of it is told.
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
    request_id: Option<String>,
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
        Self {
            kind: format!("urn:roost:error:{}", failure.code.as_str()),
            title: failure.code.meaning().trim(),
            status: failure.code.http_status(),
            detail: failure.message.chars().take(DETAIL_CHARS_MAX).collect(),
            code: failure.code,
            retry_after_ms: failure.retry_after_ms,
            request_id: None,
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
        let mut response = (self.status(), Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        if let Some(wait) = self.retry_after_ms {
            headers.insert(RETRY_AFTER, wait.div_ceil(1_000).max(1).into());
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Kept beside the text, so that a layer which knows the request's id can add it.
        response.extensions_mut().insert(self);
        response
    }
}

/// Adds the request's id to the problem document it was answered with.
pub(super) async fn name_request(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let id = id.as_ref().and_then(|id| id.header_value().to_str().ok());
    let (Some(id), Some(mut problem)) = (id, response.extensions_mut().remove::<Problem>()) else {
        return response;
    };
    problem.request_id = Some(id.to_owned());
    let mut named = problem.into_response();
    // What other layers said, `Allow` for example, stays; the length is of the shorter text.
    for (name, value) in response.headers() {
        if !named.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            named.headers_mut().append(name, value.clone());
        }
    }
    named
}

/// The answer to a path that leads nowhere.
pub async fn no_such_path() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is nothing at this path")
}

/// The answer to a method that a path does not know; `Allow` names the ones it does.
pub(super) async fn no_such_method() -> Problem {
    Problem::new(
        ErrorCode::MethodNotAllowed,
        "this path does not know the method",
    )
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
