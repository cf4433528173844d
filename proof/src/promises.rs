//! `cargo xtask prove promises`: how fast the system keeps its promises about time, through Caddy, with Redis and
//! without: the worst of twenty trials beside the figure, and an error when one is above it.

mod commands;
mod cut_off;
mod missed;
pub(super) mod people;
mod presence;
mod restarts;
mod revocations;
mod stuck;

use anyhow::{Result, bail};
use clap::Args;
use people::People;
use roost_testbed::{
    cluster::{Cluster, Options, Redis},
    interrupt, roost,
};
use std::{path::Path, time::Duration};

#[derive(Args, Clone, Copy)]
pub struct Promises {
    /// How often each is tried.
    #[arg(long, default_value_t = 20)]
    pub trials: usize,
    /// Uses the unoptimised server.
    #[arg(long)]
    pub debug: bool,
}

/// The measurements of one promise.
pub(super) struct Figure {
    promise: &'static str,
    what: &'static str,
    pub(super) times: Vec<Duration>,
    at_most: Duration,
}

impl Figure {
    pub(super) fn new(promise: &'static str, what: &'static str, at_most: Duration) -> Self {
        Self {
            promise,
            what,
            times: Vec::new(),
            at_most,
        }
    }

    fn worst(&self) -> Duration {
        self.times.iter().max().copied().unwrap_or(Duration::MAX)
    }

    /// A promise without measurements is not kept.
    pub(super) fn is_kept(&self) -> bool {
        !self.times.is_empty() && self.worst() <= self.at_most
    }

    pub(super) fn line(&self) -> String {
        format!(
            "{:<4} {:<62} {:>4} trials  worst {:>7.3} s  at most {:>6.3} s  {}",
            self.promise,
            self.what,
            self.times.len(),
            self.worst().as_secs_f64(),
            self.at_most.as_secs_f64(),
            if self.is_kept() { "kept" } else { "BROKEN" },
        )
    }
}

pub(super) fn run(promises: Promises) -> Result<()> {
    let program = roost::build(promises.debug)?;
    let mut broken = Vec::new();
    for redis in [Redis::Running, Redis::Off] {
        println!(
            "== prove promises, Redis {redis:?}, {} trials ==",
            promises.trials
        );
        let figures = pass(promises, redis, &program)?;
        broken.extend(figures.iter().filter(|it| !it.is_kept()).map(Figure::line));
    }
    if !broken.is_empty() {
        bail!("not kept:\n{}", broken.join("\n"));
    }
    println!("proven");
    Ok(())
}

fn pass(promises: Promises, redis: Redis, program: &Path) -> Result<Vec<Figure>> {
    let mut cluster = Cluster::start(Options {
        redis,
        ..Options::new(program)
    })?;
    println!("{}", cluster.describe());
    let runtime = tokio::runtime::Runtime::new()?;
    let figures = runtime.block_on(measure(promises.trials, redis, &mut cluster))?;
    cluster.stop()?;
    Ok(figures)
}

async fn measure(trials: usize, redis: Redis, cluster: &mut Cluster) -> Result<Vec<Figure>> {
    let people = People::register(cluster.url(), trials).await?;
    let mut figures = presence::measure(&people, redis, cluster).await?;
    show(&figures)?;
    let more = revocations::measure(&people, redis, cluster).await?;
    show(&more)?;
    figures.extend(more);
    // After presence, because nobody is shown as gone for a while after Redis was emptied.
    let more = missed::measure(&people, redis, cluster).await?;
    show(&more)?;
    figures.extend(more);
    let more = restarts::measure(&people, cluster).await?;
    show(&more)?;
    figures.extend(more);
    stuck::check(&people, cluster).await?;
    let more = cut_off::measure(&people, redis, cluster).await?;
    show(&more)?;
    figures.extend(more);
    Ok(figures)
}

fn show(figures: &[Figure]) -> Result<()> {
    for figure in figures {
        println!("{}", figure.line());
    }
    interrupt::check()
}
