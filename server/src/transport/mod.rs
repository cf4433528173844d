//! The transports REST, GraphQL and Socket.IO. Each turns a request into an actor and an input, calls one use case, and
//! renders the answer. The rules are in `app`.

mod arrivals;
mod body;
mod contracts;
mod forwarded;
mod frames;
mod graphql;
mod health;
mod hosts;
mod inflow;
mod limits;
mod origins;
mod page;
mod refusal_metrics;
mod request;
mod rest;
pub mod serve;
mod shares;
mod slots;
pub mod socketio;
mod sockets;
mod status;

pub use arrivals::Arrivals;
pub use contracts::error_page;
pub use forwarded::ClientAddress;
pub use graphql::graphql_sdl;
pub use health::{Health, Readiness};
pub use hosts::guard_private;
pub use limits::Limits;
pub use origins::Origins;
pub use rest::openapi_json;
pub use status::{Probes, sample};

use crate::{
    app::{self, Api, App, Error, FENCED},
    config::Config,
    live::{Fence, Redis},
};
use axum::{
    Router,
    extract::{Request, State},
    http::Extensions,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use body::Bodies;
use ipnet::IpNet;
use roost_schema::ErrorCode;
use slots::Slot;
use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;

/// How long a use case may take to answer. Longer than any poll of Socket.IO is held.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What the transports share. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    pub limits: Arc<Limits>,
    /// Counts the bytes of bodies and messages that have not arrived whole.
    pub arrivals: Arc<Arrivals>,
    pub origins: Origins,
    /// Where clients connect, as it is configured.
    pub listen: SocketAddr,
    pub trusted_proxies: Arc<[IpNet]>,
    pub health: Health,
    pub probes: Probes,
    /// The Engine.IO sessions of this instance.
    pub engine_sessions: Arc<socketio::EngineSessions>,
    /// This run of this instance, for headers and errors.
    pub instance: Arc<str>,
    /// Owns every task a transport starts.
    pub tasks: TaskTracker,
    /// Counts the sockets of GraphQL, which a stopping server waits for.
    web_sockets: TaskTracker,
    /// Cancelled when the server stops: streams end, and sockets are closed so that clients connect to another
    /// instance.
    pub closing: CancellationToken,
    /// Cancelled when the sockets are closed: the server accepts no more connections.
    pub drained: CancellationToken,
    /// Cancelled when requests had their time to finish: connections that are left are dropped.
    pub cut: CancellationToken,
    pub body_stall_timeout: Duration,
}

impl Shared {
    pub fn new(
        config: &Config,
        redis: Option<&Redis>,
        instance: Arc<str>,
        tasks: TaskTracker,
    ) -> Self {
        Api::register_counters();
        Self {
            limits: Arc::new(Limits::new(config, redis)),
            arrivals: Arc::default(),
            origins: Origins::new(&config.allowed_origins),
            listen: config.listen,
            trusted_proxies: config.trusted_proxies.clone().into(),
            health: Health::default(),
            probes: Probes::default(),
            engine_sessions: Arc::default(),
            instance,
            tasks,
            web_sockets: TaskTracker::new(),
            closing: CancellationToken::new(),
            drained: CancellationToken::new(),
            cut: CancellationToken::new(),
            body_stall_timeout: config.body_stall_timeout,
        }
    }
}

impl Shared {
    /// Waits for the sockets of GraphQL, which close by themselves when `closing` is cancelled.
    async fn web_sockets_closed(&self) {
        self.web_sockets.close();
        // Sockets that are left after that are dropped when `cut` is cancelled.
        let _ = tokio::time::timeout(socketio::DRAIN_TIME, self.web_sockets.wait()).await;
    }
}

/// One router for every transport, inside the layers that they share.
pub fn router(app: &App, shared: &Shared) -> Router {
    let admission = Admission {
        app: app.clone(),
        bodies: Bodies::new(app, shared),
        limits: Arc::clone(&shared.limits),
        origins: shared.origins.clone(),
    };
    routes(app, shared)
        .fallback(async || problem(&Error::not_found("there is nothing at this path")))
        .method_not_allowed_fallback(async || problem(&METHOD_NOT_ALLOWED))
        .layer(from_fn_with_state(Arc::new(admission), admit))
        // Health checks all come from one address, so they stand outside the limit. A load balancer may ask them for any
        // host: they give nothing away.
        .merge(health::router(&shared.health))
        .merge(hosts::guard_private(
            status::router(app, shared),
            shared.listen,
        ))
        .layer(shared.origins.cors())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(
            Arc::new(shared.clone()),
            request::observe,
        ))
}

fn routes(app: &App, shared: &Shared) -> Router {
    Router::new()
        .merge(rest::router(app, shared))
        .merge(graphql::router(app, shared))
        .merge(page::router())
        .merge(socketio::routes(app, shared))
}

/// When a client may come back whose connection a stopping server closes.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// The answer of a stopping server to new requests on connections that are still open.
const STOPPING: Error = Error::Later {
    code: ErrorCode::Unavailable,
    sentence: "this server is stopping; connect again",
    retry_after: RECONNECT_AFTER,
};

/// How long a connection that the server closes waits for pending answers: longer than a healthy store takes for a
/// commit, however busy it is. A command that takes longer is answered `outcome_unknown`.
const ANSWERS_PATIENCE: Duration = Duration::from_secs(3);
/// The same for a fenced instance, whose sockets have to be closed soon.
const FENCED_ANSWERS_PATIENCE: Duration = Duration::from_secs(1);

/// The read buffer of a WebSocket, which it keeps while it is idle. Most commands are shorter; a longer message gets a
/// buffer of its own.
const WEBSOCKET_READ_BYTES: usize = 1_024;

/// How long the last packets may take to leave before the connection is cut.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

fn answers_patience(fence: &Fence) -> Duration {
    if fence.is_shut() {
        FENCED_ANSWERS_PATIENCE
    } else {
        ANSWERS_PATIENCE
    }
}

/// The answer to a command whose connection is closed before its outcome is known.
fn cut_short() -> Error {
    Error::OutcomeUnknown(anyhow::anyhow!(
        "the connection is closed before the journal answered"
    ))
}

const METHOD_NOT_ALLOWED: Error = Error::refused(
    ErrorCode::MethodNotAllowed,
    "this path does not know the method; the Allow header names those it knows",
);

const TOO_MANY_CONNECTIONS: Error = Error::Later {
    code: ErrorCode::Overloaded,
    sentence: "this address has as many connections as one may have",
    retry_after: Duration::from_secs(5),
};

/// Checks a request before a transport sees it.
struct Admission {
    app: App,
    bodies: Bodies,
    limits: Arc<Limits>,
    origins: Origins,
}

/// One layer for all checks: a waiting request holds a copy of everything within a layer, once for each layer.
async fn admit(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    let allowed = match limit_address(&admission.limits, request.extensions()).await {
        Ok(()) => admission.origins.check(&request),
        refused => refused,
    };
    if let Err(error) = allowed {
        return problem(&error);
    }
    // The body counts as arriving until the request is answered.
    let (request, _arriving) = match admission.bodies.collect(request).await {
        Ok(collected) => collected,
        Err(refusal) => return *refusal,
    };
    // Socket.IO checks the fence itself, because a polling client receives the reason in the answer to its poll.
    if socketio::is_path(request.uri().path()) {
        return answer_in_time(request, next).await;
    }
    if admission.app.fence().is_shut() {
        return problem(&FENCED);
    }
    let is_read = request.method().is_safe();
    let response = answer_in_time(request, next).await;
    // The answer was read before the fence was shut; its reader may have lost the right to it since.
    if is_read && admission.app.fence().is_shut() {
        return problem(&FENCED);
    }
    response
}

async fn limit_address(limits: &Limits, known: &Extensions) -> app::Result<()> {
    let Some(client) = known.get::<ClientAddress>() else {
        return Ok(());
    };
    limits.check_address(*client).await?;
    // A proxy's connections are counted for the clients that they are for.
    let slot = known.get::<Arc<Slot>>();
    if slot.is_some_and(|slot| !slot.pass_to(client.0)) {
        return Err(TOO_MANY_CONNECTIONS);
    }
    Ok(())
}

async fn answer_in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(late) => problem(&Error::OutcomeUnknown(late.into())),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer hands the panic over"
)]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    problem(&Error::Internal(anyhow::anyhow!("panicked: {message}")))
}

/// An error outside any transport, as RFC 9457 problem document.
fn problem(error: &Error) -> Response {
    rest::Problem::from(error.report()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_gives_nothing_away() {
        async fn broken() -> String {
            panic!("secret detail")
        }
        let router = Router::new()
            .route("/", get(broken))
            .layer(CatchPanicLayer::custom(panicked));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await;
        let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
        assert!(body.contains(r#""code":"internal""#), "{body}");
        assert!(!body.contains("secret"), "{body}");
    }
}
