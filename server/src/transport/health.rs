//! Whether this instance lives, and whether it should be sent requests.

use super::problem;
use crate::app::{App, Error};
use axum::{
    Json, Router, extract,
    response::{IntoResponse, Response},
    routing::get,
};
use roost_schema::ErrorCode;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A store that takes longer than this to answer a probe cannot be reached.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What an instance is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Starting,
    Ready,
    /// The database or the journal does not answer, but may answer others.
    CutOff,
    /// It does not know which sessions have ended, and so sends and writes nothing.
    Fenced,
    Draining,
}

/// The readiness of this instance. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<watch::Sender<State>>);

impl Health {
    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    /// Not ready from now on, whatever the stores say.
    pub fn drain(&self) {
        self.0.send_replace(State::Draining);
    }

    /// Asks the stores once a second, until cancelled: a request for readiness costs them nothing.
    pub async fn watch(&self, app: App, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(PROBE_EVERY);
        while cancel.run_until_cancelled(tick.tick()).await.is_some() {
            let state = if app.is_cut_off(PROBE_TIMEOUT).await {
                State::CutOff
            } else if app.fence().is_shut() {
                State::Fenced
            } else {
                State::Ready
            };
            self.0.send_if_modified(|present| {
                let changes = *present != State::Draining && *present != state;
                if changes {
                    tracing::info!(from = ?present, to = ?state, "readiness changed");
                    *present = state;
                }
                changes
            });
        }
    }
}

pub(super) fn router(health: &Health) -> Router {
    Router::new()
        .route("/livez", get(async || Json("alive")))
        .route("/readyz", get(readiness))
        .with_state(health.clone())
}

async fn readiness(extract::State(health): extract::State<Health>) -> Response {
    let sentence = match health.state() {
        State::Ready => return Json("ready").into_response(),
        State::Starting => "the server is starting",
        State::CutOff => "the database or the journal does not answer",
        State::Fenced => "this instance cannot learn which sessions have ended",
        State::Draining => "the server is stopping",
    };
    problem(&Error::Later {
        code: ErrorCode::Unavailable,
        sentence,
        retry_after: RETRY_AFTER,
    })
}
