//! What a run found: a table for people, JSON for programs, a line for each second.

use crate::{
    clock::Micros,
    recorder::{Recorder, Timing},
    run::{Options, Window},
};
use anyhow::{Context, Result};
use serde::Serialize;
use std::{
    fmt::{self, Write},
    fs,
    path::Path,
    time::Duration,
};

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
}

/// The figures of a run, in the order in which they are shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub scenario: String,
    pub figures: Vec<Figure>,
}

impl Report {
    pub fn new(scenario: impl Into<String>) -> Self {
        Self {
            scenario: scenario.into(),
            figures: Vec::new(),
        }
    }

    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn add_rate(&mut self, what: &str, count: u64, took: Duration) {
        self.add(
            format!("{what} rate"),
            count as f64 / took.as_secs_f64(),
            "/s",
        );
    }

    pub fn value(&self, name: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        Some(figures.find(|figure| figure.name == name)?.value)
    }

    /// What each of these took, of the server and of the others that are watched. `what`: one of them, as `delivery`.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn add_costs(&mut self, window: &Window, what: &str, count: u64) {
        let count = count as f64;
        for (name, usage) in &window.usages {
            let cpu = usage.cpu.as_secs_f64() * 1e6;
            self.add(format!("{name} CPU per {what}"), cpu / count, "µs");
            self.add(
                format!("{name} switches per {what}"),
                usage.switches as f64 / count,
                "",
            );
        }
        self.add(
            format!("bytes per {what}"),
            window.bytes as f64 / count,
            "B",
        );
        let generator = window.generator.cpu.as_secs_f64() * 1e6 / count;
        self.add(format!("generator CPU per {what}"), generator, "µs");
        self.add("generator share", window.generator_share() * 100.0, "%");
    }

    /// By how much the memory of each process grew for each of these, and the kernel's. `what`: one of them, as `socket`.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn add_memory(&mut self, window: &Window, what: &str, count: usize) {
        let processes = window
            .usages
            .iter()
            .map(|(name, usage)| (name.as_str(), usage.resident));
        for (name, bytes) in processes.chain([("kernel", window.kernel)]) {
            let each = bytes as f64 / count as f64 / 1024.0;
            self.add(format!("{name} memory per {what}"), each, "KiB");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn add_count(&mut self, name: &str, count: u64) {
        self.add(name, count as f64, "");
    }

    pub fn add_times(&mut self, recorder: &Recorder, timing: Timing) {
        let Some(times) = recorder.times(timing) else {
            return;
        };
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            let name = format!("{} {name}", timing.name());
            self.add(name, millis(times.value_at_quantile(quantile)), "ms");
        }
    }

    pub fn add_lateness(&mut self, recorder: &Recorder) {
        self.add("generator late p99", millis(recorder.lateness()), "ms");
    }

    /// Whether each figure is one: nothing was divided by nothing.
    pub fn is_whole(&self) -> bool {
        self.figures.iter().all(|figure| figure.value.is_finite())
    }

    /// Writes what the options ask for.
    pub fn write(&self, options: &Options, recorder: &Recorder) -> Result<()> {
        if let Some(file) = &options.json {
            write(file, &serde_json::to_string_pretty(self)?)?;
        }
        if let Some(file) = &options.csv {
            write(file, &seconds(recorder))?;
        }
        if let Some(file) = &options.chart {
            crate::chart::draw(file, &self.scenario, recorder)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn millis(micros: Micros) -> f64 {
    micros as f64 / 1e3
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// CSV: of each second and each sort of time how many there were, and how long they took in milliseconds; errors as a sort
/// of their own. A second in which nothing came has a line, too.
fn seconds(recorder: &Recorder) -> String {
    let mut csv = "second,sort,count,p50_ms,p99_ms,max_ms\n".to_owned();
    let seconds = recorder.seconds();
    let last = seconds.keys().last().map_or(0, |last| last + 1);
    for number in 0..last {
        let second = seconds.get(&number).cloned().unwrap_or_default();
        for (timing, times) in &second.times {
            // Writing into a string cannot fail.
            let _ = writeln!(
                csv,
                "{number},{},{},{:.3},{:.3},{:.3}",
                timing.name(),
                times.count,
                millis(times.p50),
                millis(times.p99),
                millis(times.greatest),
            );
        }
        let _ = writeln!(csv, "{number},error,{},,,", second.errors);
    }
    csv
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.scenario)?;
        for figure in &self.figures {
            let value = format!("{:.*}", decimals(figure.value), figure.value);
            writeln!(out, "  {:<36}{value:>14} {}", figure.name, figure.unit)?;
        }
        Ok(())
    }
}

/// Three significant digits, or all before the point.
const fn decimals(value: f64) -> usize {
    match value.abs() {
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, process::Usage};

    #[test]
    fn costs_are_told_for_each() {
        let window = Window {
            took: Duration::from_secs(2),
            usages: vec![(
                "server".to_owned(),
                Usage {
                    cpu: Duration::from_secs(1),
                    resident: 0,
                    switches: 50_000,
                },
            )],
            generator: Usage::default(),
            bytes: 10_000_000,
            kernel: 0,
        };
        let mut report = Report::new("fanout");
        report.add_rate("delivery", 100_000, window.took);
        report.add_costs(&window, "delivery", 100_000);
        let rounded = |name| {
            report
                .value(name)
                .map(|value| (value * 100.0).round() / 100.0)
        };
        assert_eq!(rounded("delivery rate"), Some(50_000.0));
        assert_eq!(rounded("server CPU per delivery"), Some(10.0));
        assert_eq!(rounded("server switches per delivery"), Some(0.5));
        assert_eq!(rounded("bytes per delivery"), Some(100.0));
        report.add("nothing", f64::NAN, "");
        assert!(!report.is_whole());
        assert!(
            report.to_string().contains("server CPU per delivery"),
            "{report}"
        );
    }

    #[test]
    fn each_second_has_a_line() {
        let recorder = Recorder::default();
        recorder.begin();
        recorder.record(Timing::Read, clock::now());
        recorder.fail(clock::now(), "late");
        let csv = seconds(&recorder);
        let rows: Vec<_> = csv.lines().skip(1).collect();
        assert!(rows[0].starts_with("0,read,1,"), "{csv}");
        assert_eq!(rows[1], "0,error,1,,,", "{csv}");
    }
}
