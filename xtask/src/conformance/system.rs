//! The system that the suites drive: a cluster behind Caddy, or one instance with nothing before it. And the ways to
//! it.

use super::reach::requests;
use anyhow::{Context, Result, bail};
use roost_testbed::{
    cluster::{Cluster, Options},
    interrupt, process,
    roost::Roost,
};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The `reverse_proxy` directives of the Caddyfile: each checks the instances for itself, once a second.
const HEALTH_CHECKERS: u64 = 2;
const CADDY_PATIENCE: Duration = Duration::from_secs(20);
const READINESS_ROUTE: &str = "/readyz";

/// How clients reach the system.
#[derive(Clone, Copy)]
pub(super) struct Way {
    host: &'static str,
    pub(super) cookies: bool,
}

const BY_ADDRESS: &str = "127.0.0.1";
const BY_NAME: &str = "localhost";

impl Way {
    pub(super) fn describe(self) -> String {
        let by = match self.host {
            BY_NAME => "by host name",
            _ => "by address",
        };
        let with = if self.cookies { "with" } else { "without" };
        format!("{by}, {with} cookies")
    }
}

pub(super) enum System {
    Alone(Roost),
    Cluster(Box<Cluster>),
}

impl System {
    /// One instance on `SQLite`, with its data in this folder.
    pub(super) fn alone(program: &Path, folder: &Path) -> Result<Self> {
        let database = format!("sqlite:{}/roost.db?mode=rwc", folder.display());
        Ok(Self::Alone(Roost::start(program, folder, &database, "")?))
    }

    /// Three instances behind Caddy, with everything.
    pub(super) fn cluster(program: &Path) -> Result<Self> {
        let cluster = Cluster::start(Options::new(program))?;
        let system = Self::Cluster(Box::new(cluster));
        (0..system.instances().len()).try_for_each(|index| system.wait_for_caddy(index))?;
        Ok(system)
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Alone(_) => "one instance on SQLite".to_owned(),
            Self::Cluster(cluster) => {
                let instances = cluster.instances().len();
                format!("{instances} instances behind\n{}", cluster.describe())
            }
        }
    }

    /// All ways there are; those that keep no cookie first.
    pub(super) fn ways(&self) -> Vec<Way> {
        let way = |host, cookies| Way { host, cookies };
        match self {
            Self::Alone(_) => vec![way(BY_ADDRESS, false)],
            Self::Cluster(_) => vec![
                way(BY_ADDRESS, false),
                way(BY_NAME, false),
                way(BY_ADDRESS, true),
                way(BY_NAME, true),
            ],
        }
    }

    /// The URL at which clients connect on this way.
    pub(super) fn url(&self, way: Way) -> String {
        let url = match self {
            Self::Alone(roost) => roost.url(),
            Self::Cluster(cluster) => cluster.url().to_owned(),
        };
        url.replace(BY_ADDRESS, way.host)
    }

    pub(super) fn instances(&self) -> &[Roost] {
        match self {
            Self::Alone(roost) => std::slice::from_ref(roost),
            Self::Cluster(cluster) => cluster.instances(),
        }
    }

    pub(super) fn instance(&mut self, index: usize) -> Result<&mut Roost> {
        match self {
            Self::Alone(roost) => Ok(roost),
            Self::Cluster(cluster) => cluster.instance(index),
        }
    }

    /// The metrics of each instance, and those of Caddy.
    pub(super) fn metrics(&mut self) -> Result<Vec<(String, String)>> {
        let mut metrics = Vec::new();
        for (index, instance) in self.instances().iter().enumerate() {
            metrics.push((format!("instance-{}", index + 1), instance.metrics()?));
        }
        if let Self::Cluster(cluster) = self {
            metrics.push(("caddy".to_owned(), cluster.caddy().metrics()?));
        }
        Ok(metrics)
    }

    /// Waits until each of Caddy's health checkers has found a restarted instance ready. Before that the instance may
    /// get no requests, and clients that Caddy tells apart by their address move only once it does.
    pub(super) fn wait_for_caddy(&self, index: usize) -> Result<()> {
        if matches!(self, Self::Alone(_)) {
            return Ok(());
        }
        let instance = self.instances().get(index).context("no such instance")?;
        let checks = || requests(&instance.metrics()?, |route| route == READINESS_ROUTE);
        // With this count, each checker has begun a check since now, and one more shows that the last of those was
        // answered.
        let enough = checks()? + HEALTH_CHECKERS + 1;
        let deadline = Instant::now() + CADDY_PATIENCE;
        while checks()? < enough {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("Caddy does not look after instance {}", index + 1);
            }
            thread::sleep(process::POLL);
        }
        Ok(())
    }

    pub(super) fn stop(self) -> Result<()> {
        match self {
            Self::Alone(mut roost) => roost.stop(),
            Self::Cluster(cluster) => cluster.stop(),
        }
    }

    /// Shows the warnings and errors of the servers.
    pub(super) fn show_logs(&self) {
        const LINES_MAX: usize = 30;
        for (index, instance) in self.instances().iter().enumerate() {
            let log = fs::read_to_string(instance.log()).unwrap_or_default();
            let is_grave = |line: &&str| {
                ["WARN", "ERROR", "panicked"]
                    .iter()
                    .any(|word| line.contains(word))
            };
            let grave: Vec<_> = log.lines().filter(is_grave).collect();
            let from = grave.len().saturating_sub(LINES_MAX);
            for line in &grave[from..] {
                eprintln!("instance {}: {line}", index + 1);
            }
        }
    }
}
