//! What every HTTP request to `/socket.io` passes before the engine sees it: only well-formed ones,
//! within the limits, and each bound to the session and the connection it belongs to.

use super::{Sockets, listener::ConnectionHandle, wire::Wire};
use crate::{
    app::{Error, FENCED},
    transport::{
        ClientAddress,
        arrivals::{ACCOUNT_BYTES_MAX, Standing},
        body::{Terms, turn_away},
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

/// When to come back after a refusal for want of room.
const NO_ROOM_RETRY: Duration = Duration::from_secs(2);

pub(super) async fn guard(
    State(sockets): State<Arc<Sockets>>,
    request: Request,
    next: Next,
) -> Response {
    let visit = match Visit::read(request.method(), request.uri()) {
        Ok(visit) => visit,
        Err(refusal) => return turn_away(request, refusal.into_response()).await,
    };
    if visit.is_websocket
        && let Err(refusal) = check_upgrade(&request)
    {
        return refusal.into_response();
    }
    match visit.sid {
        None => open(&sockets, visit, request, next).await,
        Some(sid) => match sockets.wires.find(sid) {
            Some(wire) if !wire.has_ended() && visit.is_post => {
                take_in(&sockets, wire, visit, request, next).await
            }
            Some(wire) if !wire.has_ended() => serve(wire, visit, request, next).await,
            _ => turn_away(request, Refusal::UnknownSid.into_response()).await,
        },
    }
}

/// What a request wants, read from its query as the engine reads it.
struct Visit {
    is_websocket: bool,
    is_post: bool,
    sid: Option<Sid>,
}

impl Visit {
    fn read(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let query = uri.query().unwrap_or_default();
        if once(query, "EIO=")? != Some(PROTOCOL) {
            return Err(Refusal::UnsupportedProtocol);
        }
        let is_websocket = match once(query, "transport=")? {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(Refusal::UnknownTransport),
        };
        let sid = match once(query, "sid=")? {
            Some(sid) => Some(sid.parse().map_err(|_| Refusal::UnknownSid)?),
            None => None,
        };
        let is_post = method == Method::POST;
        if is_post && (is_websocket || sid.is_none()) || !is_post && method != Method::GET {
            return Err(Refusal::BadMethod);
        }
        Ok(Self {
            is_websocket,
            is_post,
            sid,
        })
    }
}

/// The value of a key that may be given once: of two, two readers might take different ones.
fn once<'q>(query: &'q str, key: &str) -> Result<Option<&'q str>, Refusal> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(key));
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Refusal::BadRequest),
    }
}

/// The engine answers any request that has a key; RFC 6455 §4.2.1 asks for more.
fn check_upgrade(request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let is_websocket = headers
        .get(UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // A request the engine does not answer with 101 must not bind the session to its connection.
    let has_key = headers.contains_key(SEC_WEBSOCKET_KEY);
    if !is_websocket || !has_key || request.extensions().get::<OnUpgrade>().is_none() {
        return Err(Refusal::BadRequest);
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != WEBSOCKET_VERSION) {
        return Err(Refusal::UnsupportedWebSocket);
    }
    Ok(())
}

/// A handshake: a session of its own from here on, if there is room for one.
async fn open(sockets: &Arc<Sockets>, visit: Visit, mut request: Request, next: Next) -> Response {
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
    let Some(newcomer) = sockets.newcomers.take_one(client) else {
        return no_room(
            ErrorCode::Overloaded,
            "too many sockets of this address, or of all, are connecting",
        );
    };
    let connection = match (visit.is_websocket, connection_of(&request)) {
        (true, None) => return unwatched(),
        (true, connection) => connection,
        (false, _) => None,
    };
    let wire = Wire::open(
        &sockets.wires,
        sockets.app.fence().clone(),
        connection,
        seat,
        newcomer,
    );
    request.extensions_mut().insert(Arc::clone(&wire));
    let response = next.run(compact(request)).await;
    if visit.is_websocket || response.status() != StatusCode::OK {
        return response;
    }
    learn_sid(&wire, response).await
}

/// The engine keeps the parts of a handshake as long as the session, and its headers and path keep the buffer they were
/// read into, of 8 KiB and more. So it gets copies of what it reads: the path, and the one header.
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

/// What a session that polls sends: little, until it is connected to the namespace.
async fn take_in(
    sockets: &Sockets,
    wire: Arc<Wire>,
    visit: Visit,
    request: Request,
    next: Next,
) -> Response {
    let terms = Terms::of(if wire.is_settled() {
        Standing::Account
    } else {
        Standing::Guest
    });
    match sockets.bodies.take_in(request, terms).await {
        Ok((request, _arriving)) => serve(wire, visit, request, next).await,
        Err(refusal) => *refusal,
    }
}

/// A request of a session that exists.
async fn serve(wire: Arc<Wire>, visit: Visit, request: Request, next: Next) -> Response {
    if visit.is_websocket {
        return match connection_of(&request) {
            None => unwatched(),
            Some(connection) if wire.move_to(&connection) => next.run(request).await,
            Some(_) => Refusal::BadRequest.into_response(),
        };
    }
    let answering = next.run(request).with_cancellation_token(wire.ended());
    let answer = answering.await;
    match answer {
        // What the answer holds was handed to a session that has ended meanwhile.
        _ if wire.has_ended() => Refusal::UnknownSid.into_response(),
        None => Refusal::UnknownSid.into_response(),
        Some(response) if visit.is_post || response.status() != StatusCode::OK => response,
        Some(response) => response.map(|body| Body::new(Counted::new(body, wire))),
    }
}

fn connection_of(request: &Request) -> Option<ConnectionHandle> {
    request.extensions().get::<ConnectionHandle>().cloned()
}

/// Reads the new session's id from the answer to a polling handshake, `0{"sid":…,"maxPayload":…}`,
/// and tells the client how much it may send at once: the engine has one number for both
/// directions, and the one it knows is for the other.
async fn learn_sid(wire: &Arc<Wire>, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let learned = to_bytes(body, HANDSHAKE_BYTES_MAX)
        .await
        .ok()
        .and_then(|body| {
            let mut open: serde_json::Value =
                serde_json::from_slice(body.strip_prefix(b"0")?).ok()?;
            let sid: Sid = open.get("sid")?.as_str()?.parse().ok()?;
            *open.get_mut("maxPayload")? = json!(ACCOUNT_BYTES_MAX);
            Some((sid, format!("0{open}")))
        });
    let Some((sid, open)) = learned else {
        tracing::error!("the engine's handshake reads otherwise than expected");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    wire.name(sid);
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(open.len()));
    Response::from_parts(parts, Body::from(open))
}

/// The answer to a poll, counted as taken when all of it has been.
struct Counted {
    body: Body,
    bytes: u64,
    /// Present until the answer was taken.
    wire: Option<Arc<Wire>>,
}

impl Counted {
    fn new(body: Body, wire: Arc<Wire>) -> Self {
        Self {
            body,
            bytes: 0,
            wire: Some(wire),
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
            && let Some(wire) = self.wire.take()
        {
            wire.polled(self.bytes);
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
        // The client's request broke, and with it everything in the answer. Going on would leave a
        // gap that nobody sees; ended, the client comes back and resumes.
        if let Some(wire) = self.wire.take()
            && !self.body.is_end_stream()
        {
            wire.cut();
        }
    }
}

/// Why a request is not let in, as Engine.IO's reference server says it.
#[derive(Clone, Copy)]
enum Refusal {
    UnknownTransport,
    /// The client starts anew.
    UnknownSid,
    BadMethod,
    BadRequest,
    UnsupportedProtocol,
    UnsupportedWebSocket,
}

impl IntoResponse for Refusal {
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

fn unwatched() -> Response {
    tracing::error!("a connection without a handle: serve this router with its own loop");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
