//! A chat for a long time: by how much the server's memory grows in an hour.

use super::{
    deliveries::Deliveries,
    in_one_room_each, rooms_of,
    writers::{What, Who, Writers},
};
use crate::{recorder::Timing, report::Report, rooms, run::Run};
use anyhow::{Context, Result};
use clap::Args;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const SECONDS: u64 = 3_600;
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// The first part of the samples is left out: caches fill.
const LEFT_OUT: usize = 5;

#[derive(Clone, Debug, Args)]
pub struct Soak {
    #[arg(long, default_value_t = 50)]
    pub rooms: usize,
    #[arg(long, default_value_t = 10)]
    pub members: usize,
    /// Messages a second, of all people together.
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
}

impl Soak {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        run.server()?
            .context("a soak watches the server's memory: name its process with --pid")?;
        let people = run.people(self.rooms * self.members).await?;
        let rooms = rooms::open(&people, in_one_room_each(self.rooms, self.members)).await?;
        let sockets = run.open(&people, &rooms_of(people.len(), &rooms)).await?;
        let writers = Writers::start(
            What::Message,
            Who::Everybody,
            self.rate,
            &people,
            &rooms,
            &sockets,
        );
        let duration = run.duration(SECONDS);
        let (deliveries, samples) = tokio::join!(
            Deliveries::measure(run, writers, sockets, duration),
            sample(run, run.warm_up() + duration)
        );
        let (deliveries, samples) = (deliveries?, samples?);

        let mut report = deliveries.report(format!("soak of {} s", duration.as_secs()));
        let settled = &samples[samples.len() / LEFT_OUT..];
        report.add("memory slope", slope(settled) / MIB * 3_600.0, "MiB/h");
        if let Some((_, last)) = samples.last() {
            report.add("memory at the end", last / MIB, "MiB");
        }
        report.add_times(&run.recorder, Timing::Delivery);
        deliveries.add_faults(&mut report, run, "lost");
        Ok(report)
    }
}

const MIB: f64 = 1024.0 * 1024.0;

/// The server's resident memory in bytes, by seconds since the start.
async fn sample(run: &Run, duration: Duration) -> Result<Vec<(f64, f64)>> {
    let begin = Instant::now();
    let mut samples = Vec::new();
    while begin.elapsed() < duration {
        let usage = run.server()?.context("the server is gone")?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        samples.push((begin.elapsed().as_secs_f64(), usage.resident as f64));
        sleep_until(Instant::now() + SAMPLE_EVERY).await;
    }
    Ok(samples)
}

/// Of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if variance == 0.0 {
        0.0
    } else {
        covariance / variance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_points() {
        let line: Vec<_> = (0..10)
            .map(|x| (f64::from(x), 3.0 * f64::from(x) + 7.0))
            .collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
    }
}
