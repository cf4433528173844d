//! The real program as a child process, from the testbed: it can be killed with -9 and started again.

use super::{DEADLINE, World, eventually};
use roost_client::Endpoint;
use roost_testbed::{
    ports::free_port,
    process::POLL,
    roost::{self, Roost},
};
use rustix::process::Signal;
use std::{
    path::Path,
    process::{ExitStatus, Output},
};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// `roost serve` on a port of its own. When it is dropped, it is killed.
///
/// The testbed waits for a server on its thread. Here the proxies and other servers of a story share the thread, so
/// this waits without holding it up.
pub(crate) struct Program {
    pub(crate) endpoint: Endpoint,
    roost: Roost,
    _folder: TempDir,
}

impl World {
    /// Starts the program upon this world's database and waits until it is ready.
    pub(crate) async fn start_program(&self, keys: &[(&str, &str)]) -> Program {
        let program = self.begin_program(keys);
        program.ready().await;
        program
    }

    /// The same, and does not wait: it may be long in starting.
    pub(crate) fn begin_program(&self, keys: &[(&str, &str)]) -> Program {
        self.begin_program_under(None, keys)
    }

    /// The same under a umask of its own, such as `000`.
    pub(crate) async fn start_program_under(&self, umask: &str, keys: &[(&str, &str)]) -> Program {
        let program = self.begin_program_under(Some(umask), keys);
        program.ready().await;
        program
    }

    fn begin_program_under(&self, umask: Option<&str>, keys: &[(&str, &str)]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let environment = self.environment(keys);
        let roost = Roost::begin_on(port, Path::new(PROGRAM), folder.path(), environment, umask);
        let roost = roost.unwrap();
        Program {
            endpoint: Endpoint::new(&roost.url()).unwrap(),
            roost,
            _folder: folder,
        }
    }

    /// Runs a command of the program as it would run for this world, without a server of its own.
    pub(crate) async fn run_program(&self, keys: &[(&str, &str)], arguments: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{}", free_port().unwrap());
        let own = [("listen", listen.as_str()), ("metrics_listen", "")];
        let environment = self.environment(&[&own[..], keys].concat());
        let command = roost::command(Path::new(PROGRAM), folder.path(), &environment, arguments);
        output(command).await
    }

    fn environment(&self, keys: &[(&str, &str)]) -> Vec<(String, String)> {
        let stores = [
            ("database_url", self.url.as_str()),
            ("journal_url", self.journal_url.as_str()),
            ("redis_url", self.redis_url.as_str()),
            ("redis_prefix", self.redis_prefix.as_str()),
        ];
        stores
            .iter()
            .chain(keys)
            .map(|(name, text)| (format!("ROOST_{}", name.to_uppercase()), (*text).to_owned()))
            .collect()
    }
}

impl Program {
    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.roost.kill_nine().unwrap();
    }

    /// Starts it again on the same port after a kill.
    pub(crate) async fn start_again(&mut self) {
        self.roost.begin_again().unwrap();
        self.ready().await;
    }

    /// Stops the process with SIGSTOP, until it is woken.
    pub(crate) fn put_to_sleep(&mut self) {
        self.roost.signal(Signal::STOP).unwrap();
    }

    /// Continues the process with SIGCONT.
    pub(crate) fn wake(&mut self) {
        self.roost.signal(Signal::CONT).unwrap();
    }

    /// Ends the process with SIGTERM; returns its exit status.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.roost.signal(Signal::TERM).unwrap();
        let ending = async {
            loop {
                if let Some(status) = self.roost.exit_status().unwrap() {
                    return status;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        timeout(DEADLINE, ending).await.expect("it ends in time")
    }

    /// Runs another command of the program in the same environment.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        output(self.roost.command(arguments)).await
    }

    /// What it has logged until now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.roost.log()).unwrap()
    }

    /// The text of its `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        let page = reqwest::get(self.roost.metrics_url()).await.unwrap();
        page.text().await.unwrap()
    }

    /// Asks as a container's health check would.
    async fn ready(&self) {
        eventually(async || self.run(&["health"]).await.status.success()).await;
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_roost");

async fn output(command: std::process::Command) -> Output {
    let mut command = Command::from(command);
    let output = timeout(DEADLINE, command.kill_on_drop(true).output()).await;
    output.expect("it ends in time").unwrap()
}
