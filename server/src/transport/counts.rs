//! What is counted by the way a request came in: writes that were acknowledged, and refusals.

use axum::http::{Method, StatusCode};
use metrics::Counter;
use roost_schema::ErrorCode;
use std::sync::LazyLock;

/// The way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Rest,
    Graphql,
    SocketIo,
}

/// Requests that change something and write into no room.
const REST_NO_WRITES: [&str; 2] = ["/api/v1/auth/", "stream-tickets"];
const GRAPHQL_NO_WRITES: [&str; 5] = ["register", "login", "refresh", "logout", "changePassword"];
const SOCKETIO_WRITES: [&str; 3] = ["message:send", "item:put", "item:delete"];

/// Kept, because each write counts.
static WRITES: LazyLock<[Counter; Api::ALL.len()]> = LazyLock::new(|| {
    Api::ALL.map(|api| metrics::counter!("roost_writes_total", "api" => api.name()))
});

impl Api {
    const ALL: [Self; 3] = [Self::Rest, Self::Graphql, Self::SocketIo];

    const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Graphql => "graphql",
            Self::SocketIo => "socketio",
        }
    }

    /// Whatever is neither of the others counts as REST.
    pub(super) fn of_path(path: &str) -> Self {
        if path.starts_with("/socket.io") {
            Self::SocketIo
        } else if path.starts_with("/graphql") {
            Self::Graphql
        } else {
            Self::Rest
        }
    }
}

/// Shows the counters of writes before the first one.
pub(super) fn begin() {
    LazyLock::force(&WRITES);
}

/// A request was refused with this code.
pub(super) fn refused(api: Api, code: ErrorCode) {
    metrics::counter!("roost_refusals_total", "api" => api.name(), "code" => code.as_str())
        .increment(1);
}

/// A REST request was answered; counts it if it was a write that is acknowledged.
pub(super) fn answered_rest(method: &Method, route: &str, status: StatusCode) {
    let is_write = status.is_success()
        && !method.is_safe()
        && route.starts_with("/api/v1/")
        && !REST_NO_WRITES.iter().any(|part| route.contains(part));
    if is_write {
        wrote(Api::Rest);
    }
}

/// The mutation of this name was done.
pub(super) fn answered_graphql(mutation: &str) {
    if !GRAPHQL_NO_WRITES.contains(&mutation) {
        wrote(Api::Graphql);
    }
}

/// The command of this name was done.
pub(super) fn answered_socketio(command: &str) {
    if SOCKETIO_WRITES.contains(&command) {
        wrote(Api::SocketIo);
    }
}

fn wrote(api: Api) {
    if let Some(counter) = WRITES.get(api as usize) {
        counter.increment(1);
    }
}
