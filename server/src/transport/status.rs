//! The status of this instance, for operators: `/healthz` reports the state of its dependencies, `/lb-status` its own.
//! Both answer at once from what was measured. They name no address and no secret, and still are for operators only: a
//! proxy in front does not pass them on.

use super::{Shared, health::Readiness};
use crate::{
    app::App,
    live::{Link, Spoken},
};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::{Mutex, MutexGuard};
use roost_schema::InstanceId;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A store that takes longer than this cannot be reached.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The latency of the last probe of each store. Clones share it.
#[derive(Clone, Debug)]
pub struct Probes {
    started: Instant,
    seen: Arc<Mutex<BTreeMap<&'static str, Option<Duration>>>>,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            seen: Arc::default(),
        }
    }
}

impl Probes {
    /// Asks database and journal once a second, each by itself, until cancelled.
    pub async fn watch(&self, app: App, cancel: CancellationToken) {
        let both = async {
            tokio::join!(
                self.keep_asking(&app, "database"),
                self.keep_asking(&app, "journal")
            )
        };
        cancel.run_until_cancelled(Box::pin(both)).await;
    }

    async fn keep_asking(&self, app: &App, name: &'static str) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = Instant::now();
            let asking = async {
                match name {
                    "journal" => app.probe_journal().await,
                    _ => app.probe_database().await,
                }
            };
            let has_answered = matches!(timeout(PROBE_TIMEOUT, asking).await, Ok(Ok(())));
            let latency = has_answered.then(|| asked.elapsed());
            self.seen().insert(name, latency);
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<Duration>>> {
        self.seen.lock()
    }
}

#[derive(Clone)]
struct Status {
    app: App,
    shared: Shared,
}

pub(super) fn router(app: &App, shared: &Shared) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/lb-status", get(instance))
        .with_state(Status {
            app: app.clone(),
            shared: shared.clone(),
        })
}

/// Sets the gauges that no event updates, just before they are read.
pub fn sample(app: &App, shared: &Shared) {
    let (live, sockets) = (app.stats(), shared.engine_sessions.stats());
    let gauges = [
        ("roost_rooms_active", live.rooms),
        ("roost_mailbox_waiting_writes", live.writes_waiting),
        ("roost_mailbox_waiting_bytes", live.write_bytes_waiting),
        ("roost_sockets_lagging", sockets.lagging),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name).set(u32::try_from(value).unwrap_or(u32::MAX));
    }
    if let Some(age) = app.fence().age() {
        metrics::gauge!("roost_revocations_age_seconds").set(age.as_secs_f64());
    }
    let spoken = app.spoken();
    metrics::gauge!("roost_speaks", "own" => spoken.own.to_string()).set(spoken.used);
    metrics::gauge!("roost_clock_offset_seconds").set(app.clock_offset().as_seconds_f64());
    metrics::gauge!("roost_build_info", "version" => VERSION,
        "instance" => app.instance_id().to_string())
    .set(1);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum Overall {
    Ok,
    /// Everything is served, some of it later or less safely than it should be.
    Degraded,
    /// Writes, or everything, are refused.
    Unavailable,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthReport {
    status: Overall,
    /// Why it is not `ok`, a sentence each.
    reasons: Vec<&'static str>,
    instance: InstanceId,
    version: &'static str,
    dependencies: BTreeMap<&'static str, Dependency>,
    speaks: SpeaksReport,
    /// How far the database's clock is ahead of this host's.
    clock_offset_ms: i64,
}

/// The `speaks` of this instance and its peers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpeaksReport {
    own: u32,
    /// Formats with higher numbers are not used yet.
    used: u32,
    peers: Vec<PeerReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerReport {
    instance: InstanceId,
    speaks: u32,
    holds_back: bool,
}

impl From<Spoken> for SpeaksReport {
    fn from(spoken: Spoken) -> Self {
        let peers = spoken.peers.iter().map(|peer| PeerReport {
            instance: peer.instance,
            speaks: peer.speaks,
            holds_back: peer.speaks < spoken.own,
        });
        Self {
            own: spoken.own,
            used: spoken.used,
            peers: peers.collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    state: Answering,
    /// The latency of the last probe.
    latency_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Answering {
    Ok,
    Connecting,
    Unreachable,
}

async fn health(State(status): State<Status>) -> Response {
    let report = status.report();
    let code = match report.status {
        Overall::Ok | Overall::Degraded => StatusCode::OK,
        Overall::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(report)).into_response()
}

impl Status {
    fn report(&self) -> HealthReport {
        let mut dependencies: BTreeMap<_, _> = ["database", "journal"]
            .map(|name| (name, self.store(name)))
            .into();
        let live = self.app.stats();
        if let Some(link) = live.link {
            dependencies.insert("redis", Dependency::of_link(link));
        }
        let is_fenced = self.app.fence().is_shut();
        let is_adrift = self.app.is_clock_adrift();
        let (status, reasons) = judge(&dependencies, is_fenced, live.has_silent_peer, is_adrift);
        HealthReport {
            status,
            reasons,
            instance: self.app.instance_id(),
            version: VERSION,
            dependencies,
            speaks: self.app.spoken().into(),
            clock_offset_ms: self.app.clock_offset().num_milliseconds(),
        }
    }

    fn store(&self, name: &'static str) -> Dependency {
        let seen = self.shared.probes.seen().get(name).copied();
        Dependency {
            state: match seen {
                None => Answering::Connecting,
                Some(None) => Answering::Unreachable,
                Some(Some(_)) => Answering::Ok,
            },
            latency_ms: seen.flatten().map(milliseconds),
        }
    }
}

/// The worst status, and a sentence for each finding.
fn judge(
    dependencies: &BTreeMap<&'static str, Dependency>,
    is_fenced: bool,
    has_silent_peer: bool,
    is_clock_adrift: bool,
) -> (Overall, Vec<&'static str>) {
    let is_missing = |name| {
        let dependency = dependencies.get(name);
        dependency.is_some_and(|dependency| dependency.state != Answering::Ok)
    };
    let findings = [
        (is_missing("database"), Overall::Unavailable, NO_DATABASE),
        (is_missing("journal"), Overall::Unavailable, NO_JOURNAL),
        (is_fenced, Overall::Unavailable, IS_FENCED),
        (is_missing("redis"), Overall::Degraded, NO_REDIS),
        (has_silent_peer, Overall::Degraded, SILENT_PEER),
        (is_clock_adrift, Overall::Degraded, CLOCK_ADRIFT),
    ];
    let mut worst = Overall::Ok;
    let mut reasons = Vec::new();
    for (_, severity, reason) in findings.into_iter().filter(|(is_so, ..)| *is_so) {
        worst = worst.max(severity);
        reasons.push(reason);
    }
    (worst, reasons)
}

const NO_DATABASE: &str = "the database does not answer";
const NO_JOURNAL: &str = "the journal does not answer";
const IS_FENCED: &str = "the revocations were not read, or the lease not renewed, for 10 s: nothing is sent or \
    written until they are";
const NO_REDIS: &str = "redis does not answer: changes made on other instances come later, and each \
                        instance counts limits for itself";
const SILENT_PEER: &str = "another instance is registered and says nothing";
const CLOCK_ADRIFT: &str = "the clock of this host differs from the database's by more than 30 s";

impl Dependency {
    fn of_link(link: Link) -> Self {
        let (state, latency) = match link {
            Link::Connecting => (Answering::Connecting, None),
            Link::Up { lag, .. } => (Answering::Ok, Some(lag)),
            Link::Down => (Answering::Unreachable, None),
        };
        Self {
            state,
            latency_ms: latency.map(milliseconds),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceReport {
    id: InstanceId,
    name: String,
    version: &'static str,
    uptime_seconds: u64,
    is_ready: bool,
    is_draining: bool,
    is_fenced: bool,
    sockets: usize,
    sockets_lagging: usize,
    rooms: usize,
    writes_waiting: usize,
    lag: Lag,
}

/// Absent: not measured lately.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lag {
    /// How long this instance's last canary took through the backplane.
    canary_ms: Option<f64>,
    /// How old the newest change from another instance was when it was delivered here, by the clocks
    /// of both hosts.
    delivery_ms: Option<f64>,
}

async fn instance(State(status): State<Status>) -> Json<InstanceReport> {
    let (live, sockets) = (status.app.stats(), status.shared.engine_sessions.stats());
    let readiness = status.shared.health.state();
    let canary = match live.link {
        Some(Link::Up { lag, .. }) => Some(lag),
        _ => None,
    };
    Json(InstanceReport {
        id: status.app.instance_id(),
        name: status.app.instance().name.clone(),
        version: VERSION,
        uptime_seconds: status.shared.probes.started.elapsed().as_secs(),
        is_ready: readiness == Readiness::Ready,
        is_draining: readiness == Readiness::Draining,
        is_fenced: status.app.fence().is_shut(),
        sockets: sockets.connected,
        sockets_lagging: sockets.lagging,
        rooms: live.rooms,
        writes_waiting: live.writes_waiting,
        lag: Lag {
            canary_ms: canary.map(milliseconds),
            delivery_ms: live.delivery_lag.map(milliseconds),
        },
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(redis: Answering, journal: Answering) -> BTreeMap<&'static str, Dependency> {
        let with = |state| Dependency {
            state,
            latency_ms: None,
        };
        [("redis", with(redis)), ("journal", with(journal))].into()
    }

    #[test]
    fn the_worst_finding_decides_and_each_is_named() {
        let all_well = needs(Answering::Ok, Answering::Ok);
        assert_eq!(judge(&all_well, false, false, false), (Overall::Ok, vec![]));
        let expected = (Overall::Degraded, vec![SILENT_PEER, CLOCK_ADRIFT]);
        assert_eq!(judge(&all_well, false, true, true), expected);
        let broken = needs(Answering::Unreachable, Answering::Unreachable);
        let expected = (Overall::Unavailable, vec![NO_JOURNAL, IS_FENCED, NO_REDIS]);
        assert_eq!(judge(&broken, true, false, false), expected);
    }
}
