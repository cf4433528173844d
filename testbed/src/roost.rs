//! A Roost server: built, started, stopped or killed, started again, and its other commands run.

use crate::{
    interrupt, ports,
    process::{self, DeathSignal, tied},
    workspace,
};
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

const READY_PATIENCE: Duration = Duration::from_mins(1);
/// Of the names of the variables that the program reads as its configuration.
const VARIABLE_PREFIX: &str = "ROOST_";
const LOG_FILE: &str = "roost.log";
const LOG_TAIL_LINES: usize = 10;

/// Builds the server and gives its path.
pub fn build(debug: bool) -> Result<PathBuf> {
    build_in(&workspace::root(), &workspace::target_folder(), debug)
}

/// Builds the server of a tree into a target folder.
pub(crate) fn build_in(tree: &Path, target: &Path, debug: bool) -> Result<PathBuf> {
    let mut command = tied("cargo", DeathSignal::Terminate, None);
    // With the whole workspace selected, the features are those of the tests, so nothing is built twice.
    command.args(["build", "--locked", "--workspace", "--bin", "roost"]);
    if !debug {
        command.arg("--release");
    }
    command.env("CARGO_TARGET_DIR", target).current_dir(tree);
    process::run(&mut command)?;
    let profile = if debug { "debug" } else { "release" };
    Ok(target.join(profile).join("roost"))
}

/// A server whose data stays when it ends.
pub struct Roost {
    program: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    /// Octal, as a shell takes it; this process's own when there is none.
    umask: Option<String>,
    port: u16,
    metrics_port: u16,
    child: Child,
}

impl Roost {
    /// Starts on any free port, with these stores. An empty URL of the journal means that the database keeps the
    /// journal, too.
    pub fn start(
        program: &Path,
        folder: &Path,
        database_url: &str,
        journal_url: &str,
    ) -> Result<Self> {
        let stores = vec![
            ("ROOST_DATABASE_URL", database_url.to_owned()),
            ("ROOST_JOURNAL_URL", journal_url.to_owned()),
        ];
        Self::start_on(ports::free_port()?, program, folder, stores)
    }

    /// Starts on this port, with these variables.
    pub fn start_on(
        port: u16,
        program: &Path,
        folder: &Path,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let environment = own(environment).collect();
        let mut roost = Self::begin_on(port, program, folder, environment, None)?;
        roost.wait_until_ready()?;
        Ok(roost)
    }

    /// Starts on this port, with these variables and under this umask, and does not wait until it is ready.
    pub fn begin_on(
        port: u16,
        program: &Path,
        folder: &Path,
        mut environment: Vec<(String, String)>,
        umask: Option<&str>,
    ) -> Result<Self> {
        let metrics_port = ports::free_port()?;
        let listen = [
            ("ROOST_LISTEN", address_on(port)),
            ("ROOST_METRICS_LISTEN", address_on(metrics_port)),
        ];
        environment.extend(own(listen));
        let umask = umask.map(str::to_owned);
        let child = spawn(program, folder, &environment, umask.as_deref())?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            environment,
            umask,
            port,
            metrics_port,
            child,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address on which it listens, in the form that a proxy's configuration takes.
    pub fn address(&self) -> String {
        address_on(self.port)
    }

    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_port)
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG_FILE)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and does not wait for its effect: STOP and CONT, or TERM before `wait_until_stopped`.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        process::signal(&mut self.child, signal)
    }

    /// How the server ended, if it has.
    pub fn ending(&mut self) -> Result<Option<String>> {
        Ok(self.exit_status()?.map(process::describe))
    }

    /// The exit status of the server, if it has ended.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub fn kill_nine(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn restart(&mut self) -> Result<()> {
        self.begin_again()?;
        self.wait_until_ready()
    }

    /// Starts it again after its end, and does not wait until it is ready.
    pub fn begin_again(&mut self) -> Result<()> {
        let umask = self.umask.as_deref();
        self.child = spawn(&self.program, &self.folder, &self.environment, umask)?;
        Ok(())
    }

    /// Waits until the server is ready; kills it when it is not in time, or when this process is interrupted.
    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_PATIENCE;
        while !(ports::is_owned_by(self.port, self.child.id()) && is_ready(self.port)) {
            if interrupt::requested() {
                self.kill_nine()?;
                bail!("interrupted");
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server ended with {}: {:#?}",
                    process::describe(status),
                    log_tail(&self.folder)
                );
            }
            if Instant::now() > deadline {
                self.kill_nine()?;
                bail!(
                    "the server is not ready after {} s",
                    READY_PATIENCE.as_secs()
                );
            }
            thread::sleep(process::POLL);
        }
        Ok(())
    }

    /// Restarts it with another program, such as another release, on the same port and with the same configuration.
    pub fn restart_as(&mut self, program: &Path) -> Result<()> {
        program.clone_into(&mut self.program);
        self.restart()
    }

    /// Restarts it with other values of these variables, which then stay.
    pub fn restart_with(&mut self, environment: Vec<(&'static str, String)>) -> Result<()> {
        self.environment.extend(own(environment));
        self.restart()
    }

    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.wait_until_stopped()
    }

    /// Waits for the end of a server that was asked to stop; an error when it did not stop in order.
    pub fn wait_until_stopped(&mut self) -> Result<()> {
        let status = process::wait_or_kill(&mut self.child)?;
        if !status.success() {
            bail!(
                "the server did not stop in order: {}: {:#?}",
                process::describe(status),
                log_tail(&self.folder)
            );
        }
        Ok(())
    }

    /// The output of another command of the program, run with the server's configuration.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        process::output(&mut self.command(arguments))
    }

    /// Another command of the program, with the server's configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(&self.program, &self.folder, &self.environment, arguments)
    }

    /// The body of `/metrics`, from its private listener.
    pub fn metrics(&self) -> Result<String> {
        let answer = get(self.metrics_port, "/metrics")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without a head")?;
        if !head.starts_with(OK) {
            bail!("/metrics answered {head}");
        }
        Ok(body.to_owned())
    }
}

pub(crate) fn address_on(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Drop for Roost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of the program, with this configuration and no other.
pub fn command(
    program: &Path,
    folder: &Path,
    environment: &[(String, String)],
    arguments: &[&str],
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    configure(&mut command, folder, environment);
    command
}

/// Starts `roost serve`; its output goes to the log in the folder.
fn spawn(
    program: &Path,
    folder: &Path,
    environment: &[(String, String)],
    umask: Option<&str>,
) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join(LOG_FILE))?;
    let mut command = if let Some(umask) = umask {
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let mut shell = tied("/bin/sh", DeathSignal::Kill, None);
        shell.args(["-c", &script]).arg(program);
        shell
    } else {
        tied(program, DeathSignal::Kill, None)
    };
    command.arg("serve");
    configure(&mut command, folder, environment);
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start the server")
}

/// The program reads its configuration from its folder and these variables. It inherits no key from this process.
fn configure(command: &mut Command, folder: &Path, environment: &[(String, String)]) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(VARIABLE_PREFIX) {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().cloned());
    command.current_dir(folder);
}

/// Variables with names of their own.
fn own(
    environment: impl IntoIterator<Item = (&'static str, String)>,
) -> impl Iterator<Item = (String, String)> {
    let environment = environment.into_iter();
    environment.map(|(name, value)| (name.to_owned(), value))
}

/// The last lines of the log, the newest first.
fn log_tail(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(LOG_FILE)).unwrap_or_default();
    let lines = text.lines().rev().take(LOG_TAIL_LINES);
    lines.map(str::to_owned).collect()
}

fn is_ready(port: u16) -> bool {
    get(port, "/readyz").is_ok_and(|answer| answer.starts_with(OK))
}

pub(crate) const OK: &str = "HTTP/1.1 200";
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// The raw answer to a request, head and body.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
