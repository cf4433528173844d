//! The real program as a child process: it can be killed with -9 and started again.

use super::{DEADLINE, World};
use roost_client::Endpoint;
use roost_testbed::ports::free_port;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// `roost serve` on a port of its own. When it is dropped, it is killed.
pub(crate) struct Program {
    pub(crate) endpoint: Endpoint,
    environment: Vec<(String, String)>,
    child: Child,
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
        let address = free_address();
        let environment = self.environment(address, keys);
        Program {
            endpoint: Endpoint::new(&format!("http://{address}")).unwrap(),
            child: spawn(&environment, &["serve"]),
            environment,
        }
    }

    /// The same under a umask of its own, such as `000`.
    pub(crate) async fn start_program_under(&self, umask: &str, keys: &[(&str, &str)]) -> Program {
        let address = free_address();
        let environment = self.environment(address, keys);
        let mut shell = Command::new("/bin/sh");
        let script = format!("umask {umask}; exec \"$0\" serve");
        shell.args(["-c", &script, PROGRAM]);
        let program = Program {
            endpoint: Endpoint::new(&format!("http://{address}")).unwrap(),
            child: start(shell, &environment),
            environment,
        };
        program.ready().await;
        program
    }

    /// Runs a command of the program as it would run for this world, without a server of its own.
    pub(crate) async fn run_program(&self, keys: &[(&str, &str)], arguments: &[&str]) -> Output {
        let child = spawn(&self.environment(free_address(), keys), arguments);
        let output = timeout(DEADLINE, child.wait_with_output()).await;
        output.expect("it ends in time").unwrap()
    }

    fn environment(&self, address: SocketAddr, keys: &[(&str, &str)]) -> Vec<(String, String)> {
        let listen = address.to_string();
        let own = [
            ("listen", listen.as_str()),
            ("metrics_listen", ""),
            ("database_url", self.url.as_str()),
            ("journal_url", self.journal_url.as_str()),
            ("redis_url", self.redis_url.as_str()),
            ("redis_prefix", self.redis_prefix.as_str()),
        ];
        own.iter()
            .chain(keys)
            .map(|(name, text)| (format!("ROOST_{}", name.to_uppercase()), (*text).to_owned()))
            .collect()
    }
}

impl Program {
    /// Kills it with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again on the same port after a kill.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.environment, &["serve"]);
        self.ready().await;
    }

    /// Stops the process with SIGSTOP, until it is woken.
    pub(crate) fn put_to_sleep(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues the process with SIGCONT.
    pub(crate) fn wake(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        let process = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Ends the process with SIGTERM; returns its exit status.
    pub(crate) async fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::TERM);
        let ended = timeout(DEADLINE, self.child.wait()).await;
        ended.expect("it ends in time").unwrap()
    }

    /// Runs another command of the program in the same environment.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let child = spawn(&self.environment, arguments);
        let output = timeout(DEADLINE, child.wait_with_output()).await;
        output.expect("it ends in time").unwrap()
    }

    /// Asks as a container's health check would.
    async fn ready(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let asking = async {
            while !self.run(&["health"]).await.status.success() {
                ticks.tick().await;
            }
        };
        timeout(DEADLINE, asking).await.expect("it becomes ready");
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_roost");

fn spawn(environment: &[(String, String)], arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    start(command, environment)
}

fn start(mut command: Command, environment: &[(String, String)]) -> Child {
    command
        .env_clear()
        .envs(environment.iter().map(|(name, text)| (name, text)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A free port that is chosen beforehand, because the program has to have the same one after a restart.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port().unwrap()).into()
}
