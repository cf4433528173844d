//! Reads request bodies, within a size and a time, before anything looks at them.

use super::problem;
use crate::app::{Error, Result};
use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, Version, header::CONNECTION},
    middleware::Next,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use roost_schema::ErrorCode;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub(super) const BODY_BYTES_MAX: usize = 1_024 * 1_024;

/// However steadily it trickles, a body is not waited for longer than this.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Hands the request on with its whole body in memory, or answers `too_large` or `timeout`. No
/// request of ours streams in, and so no extractor needs bounds of its own.
pub(super) async fn collect(
    State(stall_timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let version = request.version();
    let (parts, body) = request.into_parts();
    match read(body, stall_timeout).await {
        Ok(bytes) => next.run(Request::from_parts(parts, bytes.into())).await,
        Err(error) => {
            let mut response = problem(&error);
            if version <= Version::HTTP_11 {
                // The rest of the body is not read, so nothing can follow it.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response
        }
    }
}

async fn read(mut body: Body, stall_timeout: Duration) -> Result<Bytes> {
    let announced = body.size_hint().lower();
    if announced > BODY_BYTES_MAX as u64 {
        return Err(TOO_LARGE);
    }
    let last_moment = Instant::now() + BODY_TIMEOUT;
    let mut bytes = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        let deadline = last_moment.min(Instant::now() + stall_timeout);
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|_| BROKEN)?,
            Ok(None) => return Ok(bytes.freeze()),
            Err(_) => return Err(LATE),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(TOO_LARGE);
        }
        bytes.extend_from_slice(&data);
    }
}

const TOO_LARGE: Error = Error::refused(ErrorCode::TooLarge, "the body is larger than 1 MiB");
const LATE: Error = Error::refused(ErrorCode::Timeout, "the body did not arrive in time");
const BROKEN: Error = Error::refused(ErrorCode::Malformed, "the body broke off");
