//! The tasks that run beside the connections of a server.

use super::TASKS_TIMEOUT;
use crate::{app::App, transport::Shared};
use metrics_exporter_prometheus::PrometheusHandle;
use std::{sync::Arc, time::Duration};
use tokio::time::{interval, sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often samples are aggregated: until then each is kept. See `PrometheusHandle::run_upkeep`.
const METRICS_UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How often an instance asks which chores are due, on average.
const CHORES_EVERY: Duration = Duration::from_mins(1);

/// Tasks, and the token that asks them to end.
#[derive(Clone, Default)]
pub(super) struct Background {
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
}

impl Background {
    /// Runs a task, which is given the token that asks it to end.
    pub(super) fn spawn<Task>(&self, start: impl FnOnce(CancellationToken) -> Task)
    where
        Task: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(start(self.cancel.clone()));
    }

    pub(super) async fn end(&self) {
        self.cancel.cancel();
        self.tasks.close();
        if timeout(TASKS_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "tasks did not finish in time");
        }
    }
}

/// Starts the tasks that a single instance needs, too.
pub(super) fn spawn_local(background: &Background, app: &App, shared: &Shared) {
    let (health, probed) = (shared.health.clone(), app.clone());
    background.spawn(async move |until| health.watch(probed, until).await);
    let (stores, asked) = (shared.probes.clone(), app.clone());
    background.spawn(async move |until| stores.watch(asked, until).await);
    let relaying = app.clone();
    background.spawn(async move |until| relaying.run_relay(until).await);
    let limits = Arc::clone(&shared.limits);
    background.spawn(async move |until| Box::pin(limits.keep(until)).await);
    background.spawn(|until| do_chores(app.clone(), until));
}

/// Starts the tasks that keep this instance's lease and follow the revocations.
pub(super) fn spawn_cluster(background: &Background, app: &App, stop: &CancellationToken) {
    let following = app.clone();
    background.spawn(async move |until| following.follow_revocations(until).await);
    let (staying, stop) = (app.clone(), stop.clone());
    background.spawn(async move |until| {
        if let Err(error) = staying.stay_registered(until).await {
            tracing::error!(%error, "the lease had run out, and another instance took over; stopping");
            stop.cancel();
        }
    });
}

/// Does the chores that are due, until cancelled. The pauses are random, so that instances that were started together do
/// not ask together.
async fn do_chores(app: App, cancel: CancellationToken) {
    let mut pause = Duration::ZERO;
    while cancel.run_until_cancelled(sleep(pause)).await.is_some() {
        let chores = Box::pin(app.do_chores());
        cancel.run_until_cancelled(chores).await;
        pause = CHORES_EVERY.mul_f64(rand::random_range(0.5..1.5));
    }
}

pub(super) async fn keep_metrics(handle: PrometheusHandle, cancel: CancellationToken) {
    let mut tick = interval(METRICS_UPKEEP_EVERY);
    while cancel.run_until_cancelled(tick.tick()).await.is_some() {
        handle.run_upkeep();
    }
}
