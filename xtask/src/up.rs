//! `cargo xtask up`: from a fresh clone to a running server, with its data in `./data`.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{self, DeathSignal, tied};
use crate::{assets, interrupt, workspace};

/// How long the server may take to become ready: it may wait out another instance's lease first.
const READY_PATIENCE: Duration = Duration::from_mins(1);

/// Builds everything, serves until Ctrl-C and prints where to look.
pub fn run() -> Result<()> {
    assets::run()?;
    let mut build = tied("cargo", DeathSignal::Terminate, None);
    build.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "roost-server",
    ]);
    process::run(build.current_dir(workspace::root()))?;

    let roost = workspace::target_folder().join("release/roost");
    let mut serve = tied(&roost, DeathSignal::Terminate, None);
    let mut server = serve.arg("serve").current_dir(workspace::root()).spawn()?;
    let ready = wait_until_ready(&roost, &mut server);
    if ready.is_ok() {
        print_addresses();
        process::wait(&mut server)?;
    }
    process::stop(&mut server, rustix::process::Signal::TERM)?;
    ready
}

/// Asks as a container's health check would, so the address is whatever the configuration says.
fn wait_until_ready(roost: &PathBuf, server: &mut Child) -> Result<()> {
    let deadline = Instant::now() + READY_PATIENCE;
    while Instant::now() < deadline {
        interrupt::check()?;
        if let Some(status) = server.try_wait()? {
            bail!("the server ended with {}", process::describe(status));
        }
        let mut ask = Command::new(roost);
        if process::output(ask.arg("health").current_dir(workspace::root())).is_ok() {
            return Ok(());
        }
        thread::sleep(process::POLL);
    }
    bail!(
        "the server was not ready within {} s",
        READY_PATIENCE.as_secs()
    )
}

fn print_addresses() {
    let address = |variable, default: &str| {
        workspace::environment(variable).unwrap_or_else(|| default.to_owned())
    };
    let server = address("ROOST_LISTEN", "127.0.0.1:4000");
    let metrics = address("ROOST_METRICS_LISTEN", "127.0.0.1:9464");
    println!(
        "
Roost is ready. Ctrl-C stops it; its data stays in ./data.
  try it         http://{server}/
  GraphiQL       http://{server}/graphiql
  API reference  http://{server}/api/reference
  metrics        http://{metrics}/metrics
"
    );
}
