//! Logs and metrics of this process.

use crate::config::{Config, LogFormat};
use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{io::IsTerminal, sync::OnceLock};
use tracing_subscriber::EnvFilter;

/// Upper bounds of the histogram buckets for durations, in seconds.
const DURATION_BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Every histogram of ours that measures time is named so.
const DURATION_SUFFIX: &str = "_duration_seconds";

/// The one recorder of this process: the metrics macros are global.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts writing logs to standard error.
pub fn init_logs(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level).with_context(|| {
        format!(
            "log_level {:?} is not a level or directives",
            config.log_level
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_pretty = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let started = if is_pretty {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logs cannot be started: {error}"))
}

/// The recorder of this process, started by the first call. Its owner calls `run_upkeep` every 5 s.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix(DURATION_SUFFIX.into()),
            &DURATION_BUCKETS_SECONDS,
        )?
        .build_recorder();
    let handle = recorder.handle();
    if RECORDER.set(handle.clone()).is_ok() {
        metrics::set_global_recorder(recorder)
            .map_err(|_| anyhow::anyhow!("another metrics recorder is installed"))?;
        describe();
        return Ok(handle);
    }
    // Another thread was first; its recorder is the one that counts.
    Ok(RECORDER.get().cloned().unwrap_or(handle))
}

fn describe() {
    metrics_process::Collector::default().describe();
    metrics::describe_counter!("roost_http_requests_total", "HTTP requests answered.");
    metrics::describe_histogram!(
        "roost_http_request_duration_seconds",
        metrics::Unit::Seconds,
        "Time from a request's head to its answer's head."
    );
    metrics::describe_gauge!("roost_connections", "Connections that are open now.");
    metrics::describe_counter!(
        "roost_connections_refused_total",
        "Connections closed because too many were open."
    );
    metrics::describe_gauge!("roost_sockets", "Socket.IO sockets that are connected now.");
    metrics::describe_counter!(
        "roost_sockets_given_up_total",
        "Socket.IO sockets closed because they did not read."
    );
}
