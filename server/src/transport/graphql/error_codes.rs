//! Puts our code on every GraphQL error, so that resolvers return use-case errors as they are.

use crate::{
    app::{Api, Error},
    transport::{refusal_metrics, request::Current},
};
use async_graphql::{
    ErrorExtensionValues, Request, Response, ServerError, ServerResult,
    extensions::{
        Extension, ExtensionContext, ExtensionFactory, NextPrepareRequest, NextRequest,
        NextSubscribe,
    },
};
use futures::{StreamExt, stream::BoxStream};
use roost_schema::{ErrorCode, Failure};
use std::{
    any::TypeId,
    sync::{Arc, OnceLock},
};

/// The id of the request and of the instance, as in the log.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) Current);

/// Makes the extension that adds `code`, `retryAfterMs`, `requestId` and `instance`, and
/// counts what was refused.
pub(super) struct ErrorCodes;

impl ExtensionFactory for ErrorCodes {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(OfRequest::default())
    }
}

/// The extension at work in one request.
#[derive(Default)]
struct OfRequest {
    id: Arc<OnceLock<RequestId>>,
}

#[async_trait::async_trait]
impl Extension for OfRequest {
    async fn request(&self, ctx: &ExtensionContext<'_>, next: NextRequest<'_>) -> Response {
        let mut response = next.run(ctx).await;
        add_codes(&mut response.errors, self.id.get());
        response
    }

    fn subscribe<'s>(
        &self,
        ctx: &ExtensionContext<'_>,
        stream: BoxStream<'s, Response>,
        next: NextSubscribe<'_>,
    ) -> BoxStream<'s, Response> {
        let id = Arc::clone(&self.id);
        let coded = stream.map(move |mut response| {
            add_codes(&mut response.errors, id.get());
            response
        });
        next.run(ctx, coded.boxed())
    }

    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        let id = request.data.get(&TypeId::of::<RequestId>());
        if let Some(id) = id.and_then(|id| id.downcast_ref::<RequestId>()) {
            self.id.get_or_init(|| id.clone());
        }
        next.run(ctx, request).await
    }
}

/// Describes each error in `extensions`.
pub(super) fn add_codes(errors: &mut [ServerError], request_id: Option<&RequestId>) {
    for error in errors {
        let failure = failure(error);
        let is_known = error
            .extensions
            .as_ref()
            .and_then(|known| known.get("code"));
        if is_known.is_none() {
            refusal_metrics::count(Api::Graphql, failure.code);
        }
        error.message = failure.message;
        let extensions = error
            .extensions
            .get_or_insert_with(ErrorExtensionValues::default);
        extensions.set("code", failure.code.as_str());
        if let Some(after) = failure.retry_after_ms {
            extensions.set("retryAfterMs", after);
        }
        if let Some(RequestId(current)) = request_id {
            extensions.set("requestId", &*current.id);
            extensions.set("instance", &*current.instance);
        }
    }
}

/// A refusal of ours as an error of the whole request.
pub(super) fn request_error(cause: Error) -> ServerError {
    let mut error = ServerError::new(cause.to_string(), None);
    error.source = Some(Arc::new(cause));
    error
}

/// Use cases fail with [`Error`], batched loads with a shared one; anything else is the query's own
/// fault, found while it was parsed or validated.
fn failure(error: &ServerError) -> Failure {
    if let Some(error) = error.source::<Error>() {
        return error.report();
    }
    if let Some(error) = error.source::<Arc<Error>>() {
        return error.report();
    }
    let code = if error.message == "Query is too complex." {
        ErrorCode::TooLarge
    } else {
        ErrorCode::Malformed
    };
    Failure {
        code,
        message: error.message.clone(),
        retry_after_ms: None,
    }
}
