//! A server that Roost is measured beside: any program that takes `--listen` and answers `/readyz`.

use crate::{
    interrupt, ports,
    process::{self, DeathSignal, tied},
    roost::{OK, address_on, get},
};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

const READY_PATIENCE: Duration = Duration::from_secs(20);

/// A running peer. Dropping it ends it.
pub struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
    child: Child,
}

impl Peer {
    /// Returns when the peer answers.
    pub fn start(program: &Path, arguments: Vec<String>) -> Result<Self> {
        let port = ports::free_port()?;
        Ok(Self {
            child: spawn(program, &arguments, port)?,
            program: program.to_owned(),
            arguments,
            port,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", address_on(self.port))
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(&mut self) -> Result<()> {
        process::stop(&mut self.child, Signal::TERM).map(drop)
    }

    /// Ends the peer and starts it again on its port, with fresh memory and with the data of its database.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.child = spawn(&self.program, &self.arguments, self.port)?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // An error means that the peer has ended already.
        let _ = self.stop();
    }
}

fn spawn(program: &Path, arguments: &[String], port: u16) -> Result<Child> {
    let mut command = tied(program, DeathSignal::Kill, None);
    command.args(arguments);
    command.args(["--listen", &address_on(port)]);
    command.stdout(Stdio::null());
    let shown = process::display(&command);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let deadline = Instant::now() + READY_PATIENCE;
    while !(ports::is_owned_by(port, child.id()) && is_ready(port)) {
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > deadline || interrupt::requested() {
            let _ = child.kill();
            let _ = child.wait();
            let why = ended.map_or_else(|| "it does not answer".to_owned(), process::describe);
            bail!("`{shown}` did not start: {why}");
        }
        thread::sleep(process::POLL);
    }
    Ok(child)
}

fn is_ready(port: u16) -> bool {
    get(port, "/readyz").is_ok_and(|answer| answer.starts_with(OK))
}
