//! Checks every HTTP request to `/socket.io` before the engine sees it: a request has to be well-formed and within the
//! limits, and is bound to its session and its connection.

use super::{Sockets, engine_session::EngineSession, listener::ConnectionHandle};
use crate::{
    app::{Error, FENCED},
    transport::{
        ClientAddress,
        arrivals::{ACCOUNT_BYTES_MAX, Sender},
        body::{BodyLimits, turn_away},
        limits::network,
        problem,
        request::client_of,
    },
};
use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{OriginalUri, Request, State},
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use roost_schema::ErrorCode;
use serde_json::json;
use socketioxide::socket::Sid;
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::future::FutureExt;

/// The answer to a handshake is about 120 bytes.
const HANDSHAKE_BYTES_MAX: usize = 4_096;

const PROTOCOL: &str = "4";
const WEBSOCKET_VERSION: &str = "13";

/// When a client may come back that was refused because there were too many sessions.
const NO_ROOM_RETRY: Duration = Duration::from_secs(2);

pub(super) async fn guard(
    State(sockets): State<Arc<Sockets>>,
    request: Request,
    next: Next,
) -> Response {
    let session_request = match SessionRequest::read(request.method(), request.uri()) {
        Ok(session_request) => session_request,
        Err(error) => return turn_away(request, error.into_response()).await,
    };
    if session_request.is_websocket
        && let Err(error) = check_upgrade(&request)
    {
        return error.into_response();
    }
    match session_request.sid {
        None => open(&sockets, session_request, request, next).await,
        Some(sid) => match sockets.engine_sessions.find(sid) {
            Some(engine_session) if !engine_session.has_ended() && session_request.is_post => {
                serve_post(&sockets, engine_session, session_request, request, next).await
            }
            Some(engine_session) if !engine_session.has_ended() => {
                serve(engine_session, session_request, request, next).await
            }
            _ => turn_away(request, EngineError::UnknownSid.into_response()).await,
        },
    }
}

/// What a request asks of a session: its method and its query, read as the engine reads them.
struct SessionRequest {
    is_websocket: bool,
    is_post: bool,
    sid: Option<Sid>,
}

impl SessionRequest {
    fn read(method: &Method, uri: &Uri) -> Result<Self, EngineError> {
        let query = uri.query().unwrap_or_default();
        if once(query, "EIO=")? != Some(PROTOCOL) {
            return Err(EngineError::UnsupportedProtocol);
        }
        let is_websocket = match once(query, "transport=")? {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(EngineError::UnknownTransport),
        };
        let sid = match once(query, "sid=")? {
            Some(sid) => Some(sid.parse().map_err(|_| EngineError::UnknownSid)?),
            None => None,
        };
        let is_post = method == Method::POST;
        if is_post && (is_websocket || sid.is_none()) || !is_post && method != Method::GET {
            return Err(EngineError::BadMethod);
        }
        Ok(Self {
            is_websocket,
            is_post,
            sid,
        })
    }
}

/// The value of a key. A key that is given twice is refused: this server and the engine could read different values.
fn once<'q>(query: &'q str, key: &str) -> Result<Option<&'q str>, EngineError> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(key));
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(EngineError::BadRequest),
    }
}

/// Checks what RFC 6455 §4.2.1 requires of an upgrade. The engine looks for a key only.
fn check_upgrade(request: &Request) -> Result<(), EngineError> {
    let headers = request.headers();
    let is_websocket = headers
        .get(UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // A request that the engine does not answer with 101 must not move the session to its connection.
    let has_key = headers.contains_key(SEC_WEBSOCKET_KEY);
    if !is_websocket || !has_key || request.extensions().get::<OnUpgrade>().is_none() {
        return Err(EngineError::BadRequest);
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != WEBSOCKET_VERSION) {
        return Err(EngineError::UnsupportedWebSocket);
    }
    Ok(())
}

/// Answers a handshake: opens a session, if there is room for one.
async fn open(
    sockets: &Arc<Sockets>,
    session_request: SessionRequest,
    mut request: Request,
    next: Next,
) -> Response {
    if sockets.is_draining.load(Ordering::Acquire) {
        return no_room(ErrorCode::Unavailable, "the server is stopping");
    }
    if sockets.app.fence().is_shut() {
        return problem(&FENCED);
    }
    if let Some(client) = request.extensions().get::<ClientAddress>()
        && let Err(error) = sockets.limits.check_handshake(*client).await
    {
        return problem(&error);
    }
    let Ok(seat) = Arc::clone(&sockets.seats).try_acquire_owned() else {
        return no_room(ErrorCode::Overloaded, "the server holds no more sockets");
    };
    let client = network(client_of(&request));
    let Some(unconnected) = sockets.unconnected.take_one(client) else {
        return no_room(
            ErrorCode::Overloaded,
            "too many sockets of this address, or of all, are connecting",
        );
    };
    let connection = match (session_request.is_websocket, connection_of(&request)) {
        (true, None) => return without_handle(),
        (true, connection) => connection,
        (false, _) => None,
    };
    let engine_session = EngineSession::new(
        &sockets.engine_sessions,
        sockets.app.fence().clone(),
        connection,
        seat,
        unconnected,
    );
    request.extensions_mut().insert(Arc::clone(&engine_session));
    let response = next.run(compact(request)).await;
    if session_request.is_websocket || response.status() != StatusCode::OK {
        return response;
    }
    read_sid(&engine_session, response).await
}

/// Copies what the engine reads of a handshake: the path, and the one header. The engine keeps the parts of the request
/// as long as the session, and the originals would keep the buffer they were read into, of 8 KiB and more.
fn compact(request: Request) -> Request {
    let (mut parts, body) = request.into_parts();
    if let Ok(uri) = parts.uri.to_string().parse() {
        parts.uri = uri;
    }
    parts.extensions.remove::<OriginalUri>();
    let key = parts.headers.get(SEC_WEBSOCKET_KEY);
    let key = key.and_then(|key| HeaderValue::from_bytes(key.as_bytes()).ok());
    parts.headers = key
        .map(|key| (SEC_WEBSOCKET_KEY, key))
        .into_iter()
        .collect();
    Request::from_parts(parts, body)
}

/// Reads what a polling session sends. An unconnected session may send as much as a guest.
async fn serve_post(
    sockets: &Sockets,
    engine_session: Arc<EngineSession>,
    session_request: SessionRequest,
    request: Request,
    next: Next,
) -> Response {
    let body_limits = BodyLimits::of(if engine_session.is_connected() {
        Sender::Account
    } else {
        Sender::Guest
    });
    match sockets.bodies.receive(request, body_limits).await {
        Ok((request, _arriving)) => serve(engine_session, session_request, request, next).await,
        Err(refusal) => *refusal,
    }
}

/// Serves a request of a session that exists.
async fn serve(
    engine_session: Arc<EngineSession>,
    session_request: SessionRequest,
    request: Request,
    next: Next,
) -> Response {
    if session_request.is_websocket {
        return match connection_of(&request) {
            None => without_handle(),
            Some(connection) if engine_session.move_to(&connection) => next.run(request).await,
            Some(_) => EngineError::BadRequest.into_response(),
        };
    }
    let answering = next
        .run(request)
        .with_cancellation_token(engine_session.ended());
    let answer = answering.await;
    match answer {
        // The session has ended meanwhile: its packets would be delivered after its end.
        _ if engine_session.has_ended() => EngineError::UnknownSid.into_response(),
        None => EngineError::UnknownSid.into_response(),
        Some(response) if session_request.is_post || response.status() != StatusCode::OK => {
            response
        }
        Some(response) => response.map(|body| Body::new(Counted::new(body, engine_session))),
    }
}

fn connection_of(request: &Request) -> Option<ConnectionHandle> {
    request.extensions().get::<ConnectionHandle>().cloned()
}

/// Reads the id of the new session from the answer to a polling handshake, `0{"sid":…,"maxPayload":…}`, and replaces
/// `maxPayload` by how much the client may send at once. The engine has one number for both directions: its own is how
/// much the server may send.
async fn read_sid(engine_session: &Arc<EngineSession>, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let read = to_bytes(body, HANDSHAKE_BYTES_MAX)
        .await
        .ok()
        .and_then(|body| {
            let mut open: serde_json::Value =
                serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
            let sid: Sid = open.get("sid")?.as_str()?.parse().ok()?;
            *open.get_mut("maxPayload")? = json!(ACCOUNT_BYTES_MAX);
            Some((sid, format!("0{open}")))
        });
    let Some((sid, open)) = read else {
        tracing::error!("the engine's handshake reads otherwise than expected");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    engine_session.register(sid);
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(open.len()));
    Response::from_parts(parts, Body::from(open))
}

/// The answer to a poll. Its bytes are counted when all of it was read.
struct Counted {
    body: Body,
    bytes: u64,
    /// Present until the answer was read.
    engine_session: Option<Arc<EngineSession>>,
}

impl Counted {
    fn new(body: Body, engine_session: Arc<EngineSession>) -> Self {
        Self {
            body,
            bytes: 0,
            engine_session: Some(engine_session),
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        let is_over = matches!(poll, Poll::Ready(None)) || self.body.is_end_stream();
        if poll.is_ready()
            && is_over
            && let Some(engine_session) = self.engine_session.take()
        {
            engine_session.count_poll(self.bytes);
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // The client's request broke, and the packets in its answer are lost. The session ends here: the client would
        // not notice the gap, but after the end it comes back and resumes.
        if let Some(engine_session) = self.engine_session.take()
            && !self.body.is_end_stream()
        {
            engine_session.cut();
        }
    }
}

/// The errors of a request, with the codes and sentences of Engine.IO's reference server.
#[derive(Clone, Copy)]
enum EngineError {
    UnknownTransport,
    /// The session has ended, or never was: the client opens another.
    UnknownSid,
    BadMethod,
    BadRequest,
    UnsupportedProtocol,
    UnsupportedWebSocket,
}

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        let (code, message) = match self {
            Self::UnknownTransport => (0, "Transport unknown"),
            Self::UnknownSid => (1, "Session ID unknown"),
            Self::BadMethod => (2, "Bad handshake method"),
            Self::BadRequest => (3, "Bad request"),
            Self::UnsupportedProtocol => (5, "Unsupported protocol version"),
            Self::UnsupportedWebSocket => {
                let supported = [(SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION)];
                return (StatusCode::UPGRADE_REQUIRED, supported).into_response();
            }
        };
        let body = Json(json!({ "code": code, "message": message }));
        (StatusCode::BAD_REQUEST, body).into_response()
    }
}

fn no_room(code: ErrorCode, sentence: &'static str) -> Response {
    problem(&Error::Later {
        code,
        sentence,
        retry_after: NO_ROOM_RETRY,
    })
}

fn without_handle() -> Response {
    tracing::error!("a connection without a handle: serve this router with its own loop");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
