//! `cargo xtask up`: from a fresh clone to a running server, with its data in `./data`; or to a whole cluster.

mod cluster;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use roost_testbed::cluster::INSTANCES;
use roost_testbed::process::{self, DeathSignal, tied};
use roost_testbed::{interrupt, ports, roost, workspace};
use rustix::process::Signal;

use crate::assets;

/// How long the server may take to become ready: it may wait out another instance's lease first.
const READY_PATIENCE: Duration = Duration::from_mins(1);

#[derive(Args)]
pub struct Arguments {
    /// Several instances behind Caddy, with real PostgreSQL, MongoDB wire and Redis in a temporary folder.
    #[arg(long)]
    cluster: bool,
    /// How many instances.
    #[arg(long, requires = "cluster", default_value_t = INSTANCES)]
    instances: usize,
    /// Uses the server as it is shipped: its build takes a quarter of an hour.
    #[arg(long)]
    release: bool,
}

/// Builds everything, serves until Ctrl-C and prints where to look.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.cluster {
        return cluster::run(arguments.instances, !arguments.release);
    }
    assets::run()?;
    let roost = roost::build(!arguments.release)?;
    let addresses = addresses(&roost)?;
    let mut serve = tied(&roost, DeathSignal::Terminate, None);
    let mut server = serve.arg("serve").current_dir(workspace::root()).spawn()?;
    if let Err(error) = wait_until_ready(&roost, &mut server, addresses.server) {
        process::stop(&mut server, Signal::TERM)?;
        return Err(error);
    }
    println!("{addresses}");
    let status = process::wait(&mut server)?;
    bail!("the server ended by itself: {}", process::describe(status));
}

/// The addresses on which the server listens, by its configuration.
struct Addresses {
    server: SocketAddr,
    /// `None` when the configuration turns the metrics off.
    metrics: Option<SocketAddr>,
}

impl fmt::Display for Addresses {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let server = self.server;
        writeln!(
            out,
            "\nRoost is ready. Ctrl-C stops it; its data stays in ./data."
        )?;
        writeln!(out, "  try it         http://{server}/")?;
        writeln!(out, "  GraphiQL       http://{server}/graphiql")?;
        writeln!(out, "  API reference  http://{server}/api/reference")?;
        match self.metrics {
            Some(metrics) => writeln!(out, "  metrics        http://{metrics}/metrics"),
            None => Ok(()),
        }
    }
}

/// `roost config show` prints TOML.
fn addresses(roost: &Path) -> Result<Addresses> {
    let mut show = Command::new(roost);
    let shown = process::output(show.args(["config", "show"]).current_dir(workspace::root()))?;
    read_addresses(&shown)
}

fn read_addresses(shown: &str) -> Result<Addresses> {
    let shown: toml::Table = shown.parse()?;
    let address = |key| shown.get(key).and_then(toml::Value::as_str)?.parse().ok();
    Ok(Addresses {
        server: address("listen").context("`roost config show` shows no `listen`")?,
        metrics: address("metrics_listen"),
    })
}

/// Waits until the server that was started has the port, and its health command, which a container's health check runs,
/// succeeds.
fn wait_until_ready(roost: &Path, server: &mut Child, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY_PATIENCE;
    while Instant::now() < deadline {
        interrupt::check()?;
        if let Some(status) = server.try_wait()? {
            bail!("the server ended with {}", process::describe(status));
        }
        let mut ask = Command::new(roost);
        ask.arg("health").current_dir(workspace::root());
        if ports::is_owned_by(address.port(), server.id()) && process::output(&mut ask).is_ok() {
            return Ok(());
        }
        thread::sleep(process::POLL);
    }
    bail!(
        "the server was not ready within {} s",
        READY_PATIENCE.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_configuration() {
        let shown = "listen         = \"127.0.0.1:4100\"  # environment\nmetrics_listen = \"\"  # default\n";
        let addresses = read_addresses(shown).unwrap();
        assert_eq!(addresses.server.port(), 4100);
        assert!(addresses.metrics.is_none());
        assert!(read_addresses("log_level = \"info\"").is_err());
    }
}
