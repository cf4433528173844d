//! Reads request bodies before a route sees them, within a size, a time and the pools of `arrivals`. The token is
//! checked first: without a valid one a body may be as large as a sign-in, and no larger.

use super::{
    Shared,
    arrivals::{Arrivals, Arriving, Sender},
    problem, refusal_metrics, request, rest,
    socketio::{self, listener::ConnectionHandle},
};
use crate::app::{self, App, Error};
use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Version,
        header::{CONNECTION, EXPECT},
    },
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use roost_schema::ErrorCode;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// The time a body may take as a whole, however steadily it trickles. It also sets how slow a client may be.
const GUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(25);

/// How much of a refused body is read before the answer, and for how long. A connection whose body was read to its end
/// can be used again; else it is closed.
const REST_BYTES_MAX: usize = 64 * 1_024;
const REST_TIME: Duration = Duration::from_millis(50);

/// The bytes of a body are counted in steps of this size.
const HELD_STEP_BYTES: usize = 16 * 1_024;

/// Reads the bodies of requests.
#[derive(Clone)]
pub(super) struct Bodies {
    app: App,
    arrivals: Arc<Arrivals>,
    /// How long a body may make no progress.
    stall_timeout: Duration,
}

/// What a request may send, by its token and its route.
pub(super) struct BodyLimits {
    sender: Sender,
    bytes_max: usize,
    /// Why the sender of a token counts as a guest: a body that is too large for a guest is refused with this error.
    token_refused: Option<Error>,
}

impl BodyLimits {
    pub(super) const fn of(sender: Sender) -> Self {
        Self {
            sender,
            bytes_max: sender.bytes_max(),
            token_refused: None,
        }
    }
}

impl Bodies {
    pub(super) fn new(app: &App, shared: &Shared) -> Self {
        Self {
            app: app.clone(),
            arrivals: Arc::clone(&shared.arrivals),
            stall_timeout: shared.body_stall_timeout,
        }
    }

    /// The request with its whole body in memory, or a refusal. No route streams its body, so no extractor needs bounds
    /// of its own. Socket.IO reads its bodies itself, because it knows its senders by their sessions.
    pub(super) async fn collect(
        &self,
        request: Request,
    ) -> Result<(Request, Option<Arriving>), Box<Response>> {
        if request.body().is_end_stream() || socketio::is_path(request.uri().path()) {
            return Ok((request, None));
        }
        match self.limits_of(request.uri().path(), request.headers()) {
            Ok(limits) => {
                let (request, arriving) = self.receive(request, limits).await?;
                Ok((request, Some(arriving)))
            }
            Err(error) => Err(Box::new(turn_away(request, problem(&error)).await)),
        }
    }

    /// What this request may send. An error: it is refused whatever it sends.
    fn limits_of(&self, path: &str, headers: &HeaderMap) -> app::Result<BodyLimits> {
        let token = request::bearer(headers);
        let actor = match token {
            Some(token) => self.app.authenticate(token, refusal_metrics::api_of(path)),
            None => Err(Error::unauthenticated()),
        };
        let route = rest::Route::of(path);
        match actor {
            Ok(_) if route == rest::Route::Accounts => Ok(BodyLimits {
                sender: Sender::Account,
                bytes_max: Sender::Guest.bytes_max(),
                token_refused: None,
            }),
            Ok(_) if route != rest::Route::Open => Ok(BodyLimits::of(Sender::Account)),
            Err(error) if route.needs_token() => Err(error),
            Err(error) if token.is_some() => Ok(BodyLimits {
                token_refused: Some(error),
                ..BodyLimits::of(Sender::Guest)
            }),
            _ => Ok(BodyLimits::of(Sender::Guest)),
        }
    }

    /// The request with its whole body, and the count of its bytes; or a refusal.
    pub(super) async fn receive(
        &self,
        request: Request,
        limits: BodyLimits,
    ) -> Result<(Request, Arriving), Box<Response>> {
        let client = request::client_of(&request);
        let (parts, mut body) = request.into_parts();
        let mut arriving = self.arrivals.begin(client, limits.sender);
        match self.read(&mut body, &limits, &mut arriving).await {
            Ok(bytes) => Ok((Request::from_parts(parts, bytes.into()), arriving)),
            Err(error) => {
                drop(arriving);
                let is_too_large = error.code() == ErrorCode::TooLarge;
                let error = limits
                    .token_refused
                    .filter(|_| is_too_large)
                    .unwrap_or(error);
                let request = Request::from_parts(parts, body);
                Err(Box::new(turn_away(request, problem(&error)).await))
            }
        }
    }

    async fn read(
        &self,
        body: &mut Body,
        limits: &BodyLimits,
        arriving: &mut Arriving,
    ) -> app::Result<Bytes> {
        if body.size_hint().lower() > limits.bytes_max as u64 {
            return Err(too_large(limits));
        }
        let announced = body.size_hint().exact();
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let longest = announced.unwrap_or(limits.bytes_max);
        let patience = match limits.sender {
            Sender::Guest => GUEST_TIMEOUT,
            Sender::Account => ACCOUNT_TIMEOUT,
        };
        let last_moment = Instant::now() + patience;
        let (mut bytes, mut held) = (Vec::new(), 0);
        loop {
            let deadline = last_moment.min(Instant::now() + self.stall_timeout);
            let frame = match timeout_at(deadline, body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|_| BROKEN)?,
                Ok(None) => return Ok(bytes.into()),
                Err(_) => return Err(LATE),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let needed = bytes.len() + data.len();
            if needed > limits.bytes_max {
                return Err(too_large(limits));
            }
            if needed > held {
                held = needed
                    .next_multiple_of(HELD_STEP_BYTES)
                    .min(longest)
                    .max(needed);
                arriving.hold(held)?;
            }
            if needed > bytes.capacity() {
                // The announced length is reserved at once, so that the bytes are never moved, nor in memory twice
                // meanwhile. Memory that was reserved and not touched costs nothing.
                let doubled = (2 * bytes.capacity()).min(longest);
                let capacity = announced.unwrap_or(doubled).max(needed);
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// Answers a request whose body was not read, or not to its end.
pub(super) async fn turn_away(request: Request, mut response: Response) -> Response {
    let version = request.version();
    // A client that sends `Expect` waits for `100 Continue` before it sends the body.
    let waits = request.headers().contains_key(EXPECT);
    let connection = request.extensions().get::<ConnectionHandle>().cloned();
    let is_over = !waits && timeout(REST_TIME, drain(request.into_body())).await == Ok(true);
    if !is_over && version <= Version::HTTP_11 {
        // The rest of the body is not read, so nothing can follow it.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        if let Some(connection) = connection {
            connection.linger();
        }
    }
    response
}

/// Reads the rest of a body; whether it came to its end.
async fn drain(mut body: Body) -> bool {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > REST_BYTES_MAX {
            return false;
        }
    }
    true
}

fn too_large(limits: &BodyLimits) -> Error {
    let sentence = if limits.bytes_max == Sender::Guest.bytes_max() {
        "a body without an account, and one about an account, is at most 16 KiB"
    } else {
        "the body is larger than 1 MiB"
    };
    Error::refused(ErrorCode::TooLarge, sentence)
}

const LATE: Error = Error::refused(ErrorCode::Timeout, "the body did not arrive in time");
const BROKEN: Error = Error::refused(ErrorCode::Malformed, "the body broke off");
