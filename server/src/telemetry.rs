//! Logs and metrics of this process.

use crate::config::{Config, LogFormat};
use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{io::IsTerminal, sync::OnceLock};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt::{self, FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Upper bounds of the histogram buckets for durations, in seconds.
const DURATION_BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Writes in one batch, and upper bounds of its buckets.
const BATCH_METRIC: &str = "roost_journal_batch_entries";
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The suffix of every histogram that measures time.
const DURATION_SUFFIX: &str = "_duration_seconds";

/// The one recorder of this process: the metrics macros are global.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts to write logs to standard error.
pub fn init_logs(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level).with_context(|| {
        format!(
            "log_level {:?} is not a level or directives",
            config.log_level
        )
    })?;
    let is_pretty = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if is_pretty {
        let sign = |format| Signed {
            format,
            is_json: false,
        };
        lines.compact().map_event_format(sign).boxed()
    } else {
        let sign = |format| Signed {
            format,
            is_json: true,
        };
        let lines = lines.json().flatten_event(true);
        lines.map_event_format(sign).boxed()
    };
    let shown = filter.and(filter_fn(is_harmless));
    let started = registry().with(lines.with_filter(shown)).try_init();
    started.map_err(|error| anyhow::anyhow!("logs cannot be started: {error}"))
}

/// Whether a line of the log may be written: a library writes at the level `trace` what passes over a connection, access
/// tokens and messages included.
fn is_harmless(line: &Metadata<'_>) -> bool {
    *line.level() != Level::TRACE || line.target().starts_with("roost")
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
        .set_buckets_for_metric(Matcher::Full(BATCH_METRIC.into()), &BATCH_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    if RECORDER.set(handle.clone()).is_ok() {
        metrics::set_global_recorder(recorder)
            .map_err(|_| anyhow::anyhow!("another metrics recorder is installed"))?;
        describe();
        return Ok(handle);
    }
    // Another thread was first: its recorder is the global one.
    Ok(RECORDER.get().cloned().unwrap_or(handle))
}

/// Writes the instance into every line of the log from here on.
pub fn sign_logs(instance: String) {
    // Several servers in one process, as in tests, all log the first one's id.
    let _ = SIGNATURE.set(instance);
}

/// The instance id on every line of this process' log.
static SIGNATURE: OnceLock<String> = OnceLock::new();

/// Writes the instance in front of each line of another format. The library's JSON format has no constant field, and
/// writes the field of a span under `span`, so the field goes into the finished line.
struct Signed<F> {
    format: F,
    is_json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Signed<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some(instance) = SIGNATURE.get() else {
            return self.format.format_event(context, writer, event);
        };
        if !self.is_json {
            write!(writer, "{instance} ")?;
            return self.format.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            // An id has no character that JSON would escape.
            Some(rest) => write!(writer, "{{\"instance\":\"{instance}\",{rest}"),
            None => writer.write_str(&line),
        }
    }
}

/// Every metric with its description, by type.
const COUNTERS: &[(&str, &str)] = &[
    ("roost_http_requests_total", "HTTP requests answered."),
    (
        "roost_connections_refused_total",
        "Connections closed because too many were open.",
    ),
    (
        "roost_forwarded_unreadable_total",
        "Requests whose X-Forwarded-For, of a trusted proxy, names no address.",
    ),
    (
        "roost_sockets_given_up_total",
        "Socket.IO sockets closed because they did not read.",
    ),
    (
        "roost_writes_total",
        "Writes acknowledged, by the API they came through.",
    ),
    (
        "roost_refusals_total",
        "Refusals, by the API they were told through and their code.",
    ),
    (
        "roost_deliveries_total",
        "Changes that reached this instance's readers, by the path they came on.",
    ),
    (
        "roost_sweeps_total",
        "Times the journal was asked for the heads of the rooms active here.",
    ),
    (
        "roost_reorder_repairs_total",
        "Gaps in what other instances announced that were read from the journal.",
    ),
    (
        "roost_journal_failures_total",
        "Operations of the journal that failed.",
    ),
    (
        "roost_outbox_refused_total",
        "Events of rooms and members that the journal refused, by kind; one that gives rights is tried again.",
    ),
    (
        "roost_panics_total",
        "Tasks that panicked and went on, by task.",
    ),
    (
        "roost_journal_unsound_total",
        "Operations of the journal that met something it holds and cannot read.",
    ),
    (
        "roost_journal_unsealed_entries_total",
        "Entries read that an earlier release wrote, without the hashes that tell of a changed bit.",
    ),
    (
        "roost_backplane_canaries_missed_total",
        "Messages of this instance to itself that did not come back through Redis.",
    ),
    (
        "roost_backplane_dropped_total",
        "Messages to other instances that were thrown away because they could not leave.",
    ),
    (
        "roost_backplane_unknown_total",
        "Messages of other instances that this release does not know.",
    ),
    (
        "roost_redis_fallbacks_total",
        "Questions that Redis did not answer in time and this instance answered by itself.",
    ),
    (
        "roost_graphql_people_batches_total",
        "Batches in which GraphQL loaded people.",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    ("roost_connections", "Connections that are open now."),
    (
        "roost_arriving_bytes",
        "Bytes of request bodies and WebSocket messages that have not arrived whole or are not answered yet.",
    ),
    ("roost_sockets", "Socket.IO sockets that are connected now."),
    (
        "roost_sockets_lagging",
        "Socket.IO sockets that do not read as fast as they are written to.",
    ),
    ("roost_rooms_active", "Rooms that are active here now."),
    (
        "roost_journal_corrupt_rooms",
        "Rooms that are neither read nor written here, because an entry is not what was written.",
    ),
    (
        "roost_mailbox_waiting_writes",
        "Writes that wait in the mailboxes of their rooms.",
    ),
    (
        "roost_mailbox_waiting_bytes",
        "Bytes that waiting writes hold.",
    ),
    (
        "roost_backplane_canary_lag_seconds",
        "How long this instance's last message to itself took through Redis.",
    ),
    (
        "roost_clock_offset_seconds",
        "How far the database's clock is ahead of this host's.",
    ),
    (
        "roost_instances_registered",
        "Instances whose lease in the database runs, this one included.",
    ),
    (
        "roost_speaks",
        "What all registered instances understand, this one included; the label says what this one does.",
    ),
    (
        "roost_fenced",
        "1 while this instance sends and writes nothing, because it does not know which sessions ended.",
    ),
    (
        "roost_revocations_age_seconds",
        "How long ago this instance last read which sessions ended; at 10 s it is fenced.",
    ),
    (
        "roost_build_info",
        "Always 1; its labels name the version and this run of the instance.",
    ),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    (
        "roost_http_request_duration_seconds",
        "Time from a request's head to its answer's head.",
    ),
    (
        "roost_journal_operation_duration_seconds",
        "Time one operation of the journal takes.",
    ),
    (
        "roost_delivery_lag_duration_seconds",
        "Age of a change of another instance when it is delivered here, by both hosts' clocks.",
    ),
    (BATCH_METRIC, "Writes that went into the journal together."),
];

fn describe() {
    metrics_process::Collector::default().describe();
    for (name, meaning) in COUNTERS {
        metrics::describe_counter!(*name, *meaning);
    }
    for (name, meaning) in GAUGES {
        metrics::describe_gauge!(*name, *meaning);
    }
    for (name, meaning) in HISTOGRAMS {
        metrics::describe_histogram!(*name, *meaning);
    }
}

#[cfg(test)]
mod tests;
