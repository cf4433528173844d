//! Real servers for tests: direct children in the foreground, each with a temporary folder and a private port of 127.0.0.1.
//!
//! The servers end with this process: `Drop` stops them, and the kernel does when this process is killed with -9.

pub mod caddy;
pub mod mongodb;
pub mod postgres;
pub mod redis;
mod wire;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{interrupt, ports, process, workspace};

/// How long a server may take from its start to its first answer.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How much of a server's log goes into the error when it does not start.
const LOG_TAIL_LINES: usize = 15;
const FOLDER_PREFIX: &str = "roost-server-";
const LOG_FILE: &str = "server.log";

/// The servers that `cargo xtask test` gives to the tests.
pub struct Servers {
    pub postgres: Server,
    pub mongodb: mongodb::MongoDb,
    pub redis: Server,
    /// The path of the program only: tests start a Caddy of their own before instances of their own.
    pub caddy: String,
}

impl Servers {
    pub fn start() -> Result<Self> {
        Ok(Self {
            postgres: postgres::start()?,
            mongodb: mongodb::start()?,
            redis: redis::start()?,
            caddy: caddy::program()?.display().to_string(),
        })
    }

    /// The variables that tell tests where the servers are.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        [
            (postgres::URL_VARIABLE, &self.postgres.url),
            (mongodb::URL_VARIABLE, self.mongodb.url()),
            (redis::URL_VARIABLE, &self.redis.url),
            (caddy::PROGRAM_VARIABLE, &self.caddy),
        ]
    }

    /// An error when one of them has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        self.postgres.check_alive()?;
        self.mongodb.check_alive()?;
        self.redis.check_alive()
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let servers = [
            self.postgres.describe(),
            self.mongodb.describe(),
            self.redis.describe(),
        ];
        servers.join("; ")
    }
}

/// Panics in a test that `cargo xtask test` does not run. Such a test starts programs that xtask may have to install or
/// build first: that is not for a plain `cargo test` to do.
#[track_caller]
pub fn require_xtask_test() {
    assert!(
        workspace::environment(postgres::URL_VARIABLE).is_some(),
        "{} is not set: run `cargo xtask test`",
        postgres::URL_VARIABLE
    );
}

/// How to start a server, and to start it again.
struct Launch {
    name: &'static str,
    command: StartCommand,
    /// Whether the server on this port answers.
    is_ready: ReadyCheck,
    stop_signal: Signal,
    /// The signal that ends the server at once, when its data is removed anyway.
    discard_signal: Signal,
}

/// The command that starts a server in the foreground, for a port and a folder.
type StartCommand = Box<dyn Fn(u16, &TempDir) -> Command + Send>;
/// Asks whether the server on a port answers.
type ReadyCheck = Box<dyn Fn(u16) -> bool + Send>;

/// A running server. Dropping it stops it and removes its folder.
pub struct Server {
    pub url: String,
    version: String,
    port: u16,
    launch: Launch,
    child: Child,
    folder: TempDir,
}

impl Server {
    fn start(launch: Launch, folder: TempDir) -> Result<Self> {
        let port = ports::free_port()?;
        Self::start_on(launch, folder, port)
    }

    fn start_on(launch: Launch, folder: TempDir, port: u16) -> Result<Self> {
        let child = spawn(&launch, port, &folder)?;
        Ok(Self {
            url: String::new(),
            version: String::new(),
            port,
            launch,
            child,
            folder,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn describe(&self) -> String {
        format!(
            "{} on port {}, process {}",
            self.version,
            self.port,
            self.process_id()
        )
    }

    /// Ends the server as a power cut would: no goodbye, no flush. `restart` brings it back on the same port and data.
    pub fn kill_nine(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts the server again after `kill_nine`, or stops it properly and then does.
    pub fn restart(&mut self) -> Result<()> {
        process::stop(&mut self.child, self.launch.stop_signal)?;
        self.child = spawn(&self.launch, self.port, &self.folder)?;
        Ok(())
    }

    /// Suspends the server, as on a machine that hangs: its connections stay open, and nothing is answered.
    pub fn pause(&mut self) -> Result<()> {
        process::signal(&mut self.child, Signal::STOP)
    }

    /// Resumes the server after `pause`.
    pub fn resume(&mut self) -> Result<()> {
        process::signal(&mut self.child, Signal::CONT)
    }

    /// The file with the server's output, in which the cause of a failure may stand.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join(LOG_FILE)
    }

    /// An error when the server has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let status = process::describe(status);
            bail!("{} ended by itself: {status}", self.launch.name);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = process::stop(&mut self.child, self.launch.discard_signal) {
            eprintln!("{} did not stop: {error}", self.launch.name);
        }
    }
}

fn spawn(launch: &Launch, port: u16, folder: &TempDir) -> Result<Child> {
    let log = folder.path().join(LOG_FILE);
    let output = File::create(&log)?;
    let mut command = (launch.command)(port, folder);
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", launch.name))?;
    if let Err(error) = wait_until_ready(launch, port, &mut child) {
        let _ = child.kill();
        let _ = child.wait();
        let messages = fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<_> = messages.lines().rev().take(LOG_TAIL_LINES).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        return Err(error.context(format!("{} did not start:\n{tail}", launch.name)));
    }
    Ok(child)
}

/// Waits until the process that was started listens on the port and answers there.
fn wait_until_ready(launch: &Launch, port: u16, child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + READY_PATIENCE;
    while Instant::now() < deadline {
        interrupt::check()?;
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {}", process::describe(status));
        }
        if ports::is_owned_by(port, child.id()) && (launch.is_ready)(port) {
            return Ok(());
        }
        thread::sleep(process::POLL);
    }
    let seconds = READY_PATIENCE.as_secs();
    if ports::is_owned_by(port, child.id()) {
        bail!("it listens on port {port} but did not answer within {seconds} s");
    }
    bail!("it did not listen on port {port} itself within {seconds} s")
}

/// A temporary folder that a server of another user can enter, named after this process.
///
/// Folders whose process was killed with -9 are removed here, on the next start.
pub(crate) fn temporary_folder() -> Result<TempDir> {
    remove_stale_folders();
    let folder = tempfile::Builder::new()
        .prefix(&format!("{FOLDER_PREFIX}{}-", std::process::id()))
        .tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn remove_stale_folders() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if folder_owner(&entry.file_name().to_string_lossy()).is_some_and(|id| !is_running(id)) {
            // The folder of another user stays, because this process may not remove it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The id of the process to which a temporary folder belongs, from its name.
fn folder_owner(name: &str) -> Option<u32> {
    let (process_id, _) = name.strip_prefix(FOLDER_PREFIX)?.split_once('-')?;
    process_id.parse().ok()
}

fn is_running(process_id: u32) -> bool {
    PathBuf::from(format!("/proc/{process_id}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_processes_are_removed_and_others_stay() {
        let mut dead = Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let make = |name: String| tempfile::Builder::new().prefix(&name).tempdir().unwrap();
        let stale = make(format!("{FOLDER_PREFIX}{}-", dead.id()));
        let stranger = make("roost-other-1-".to_owned());

        let ours = temporary_folder().unwrap();

        assert!(!stale.path().exists());
        assert!(stranger.path().exists());
        assert!(ours.path().exists());
    }

    #[test]
    fn a_program_that_does_not_start_is_reported_with_its_last_words() {
        let launch = Launch {
            name: "a broken server",
            command: Box::new(|_, _| {
                let mut command = Command::new("sh");
                command.args(["-c", "echo no room on the disk >&2; exit 3"]);
                command
            }),
            is_ready: Box::new(|_| true),
            stop_signal: Signal::TERM,
            discard_signal: Signal::KILL,
        };
        let error = Server::start(launch, temporary_folder().unwrap())
            .err()
            .unwrap();
        let message = format!("{error:#}");
        assert!(
            message.contains("a broken server did not start"),
            "{message}"
        );
        assert!(message.contains("no room on the disk"), "{message}");
        assert!(message.contains("exit code 3"), "{message}");
    }
}
