//! The server under proof: built, started, killed with -9, started again, and its journal read.

use super::journal::Kept;
use crate::{
    ports,
    process::{self, DeathSignal, tied},
    workspace,
};
use anyhow::{Context, Result, bail};
use roost_schema::RoomId;
use rustix::process::Signal;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

const READY_PATIENCE: Duration = Duration::from_mins(1);

/// Builds the server and gives its path.
pub(super) fn build(debug: bool) -> Result<PathBuf> {
    let mut command = tied("cargo", DeathSignal::Terminate, None);
    // With the whole workspace selected its features are those of the tests: nothing is built twice.
    command.args(["build", "--locked", "--workspace", "--bin", "roost"]);
    if !debug {
        command.arg("--release");
    }
    command.current_dir(workspace::root());
    process::run(&mut command)?;
    let profile = if debug { "debug" } else { "release" };
    Ok(workspace::target_folder().join(profile).join("roost"))
}

/// A server whose data outlives it.
pub(super) struct Roost {
    program: PathBuf,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    port: u16,
    child: Child,
}

impl Roost {
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        database_url: &str,
        journal_url: &str,
    ) -> Result<Self> {
        let port = ports::free_port()?;
        let metrics_port = ports::free_port()?;
        let environment = vec![
            ("ROOST_LISTEN", format!("127.0.0.1:{port}")),
            ("ROOST_METRICS_LISTEN", format!("127.0.0.1:{metrics_port}")),
            ("ROOST_DATABASE_URL", database_url.to_owned()),
            ("ROOST_JOURNAL_URL", journal_url.to_owned()),
        ];
        let child = spawn(program, folder, &environment, port)?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            environment,
            port,
            child,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn kill_nine(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.folder, &self.environment, self.port)?;
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        let status = process::stop(&mut self.child, Signal::TERM)?;
        if !status.success() {
            bail!(
                "the server did not stop in order: {}",
                process::describe(status)
            );
        }
        Ok(())
    }

    /// Every entry of these rooms, read by the server's own program once it has stopped.
    pub(super) fn read_journal(&self, rooms: &[RoomId]) -> Result<Vec<Kept>> {
        let mut command = Command::new(&self.program);
        command.args(["journal", "dump"]);
        command.args(rooms.iter().map(ToString::to_string));
        command.envs(self.environment.iter().cloned());
        command.current_dir(&self.folder);
        let text = process::output(&mut command)?;
        text.lines()
            .map(|line| serde_json::from_str(line).context("an entry cannot be read"))
            .collect()
    }
}

impl Drop for Roost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    program: &Path,
    folder: &Path,
    environment: &[(&'static str, String)],
    port: u16,
) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("roost.log"))?;
    let mut command = tied(program, DeathSignal::Kill, None);
    command.arg("serve").envs(environment.iter().cloned());
    command.current_dir(folder);
    command.stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn().context("cannot start the server")?;
    let deadline = Instant::now() + READY_PATIENCE;
    while !(ports::is_owned_by(port, child.id()) && is_ready(port)) {
        if let Some(status) = child.try_wait()? {
            let text = std::fs::read_to_string(folder.join("roost.log")).unwrap_or_default();
            let tail: Vec<_> = text.lines().rev().take(10).collect();
            bail!(
                "the server ended with {}: {tail:#?}",
                process::describe(status)
            );
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "the server is not ready after {} s",
                READY_PATIENCE.as_secs()
            );
        }
        thread::sleep(process::POLL);
    }
    Ok(child)
}

fn is_ready(port: u16) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<bool> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
