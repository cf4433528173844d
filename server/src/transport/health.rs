//! `/livez`, whether this instance lives, and `/readyz`, whether it should get requests.

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

/// Whether an instance should get requests, and why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    #[default]
    Starting,
    Ready,
    /// The database or the journal does not answer, but may answer others.
    CutOff,
    /// The fence is shut: the instance cannot learn which sessions have ended, and sends and writes nothing.
    Fenced,
    Draining,
}

/// The readiness of this instance. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<watch::Sender<Readiness>>);

impl Health {
    pub fn state(&self) -> Readiness {
        *self.0.borrow()
    }

    /// Not ready from now on, even while the stores answer.
    pub fn drain(&self) {
        self.0.send_replace(Readiness::Draining);
    }

    /// Asks the stores once a second, until cancelled: a request for readiness costs them nothing.
    pub async fn watch(&self, app: App, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(PROBE_EVERY);
        while cancel.run_until_cancelled(tick.tick()).await.is_some() {
            let state = if app.is_cut_off(PROBE_TIMEOUT).await {
                Readiness::CutOff
            } else if app.fence().is_shut() {
                Readiness::Fenced
            } else {
                Readiness::Ready
            };
            self.0.send_if_modified(|present| {
                let changes = *present != Readiness::Draining && *present != state;
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
        Readiness::Ready => return Json("ready").into_response(),
        Readiness::Starting => "the server is starting",
        Readiness::CutOff => "the database or the journal does not answer",
        Readiness::Fenced => "this instance cannot learn which sessions have ended",
        Readiness::Draining => "the server is stopping",
    };
    problem(&Error::Later {
        code: ErrorCode::Unavailable,
        sentence,
        retry_after: RETRY_AFTER,
    })
}
