//! `cargo xtask servers`: the real servers end with it, however it ended.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic with its place is the report"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use roost_testbed::ports;
use roost_testbed::process::{DeathSignal, has_ended, tied};
use roost_testbed::servers::require_xtask_test;

const PATIENCE: Duration = Duration::from_secs(20);

/// `cargo xtask servers`, seen from outside.
struct Run {
    xtask: Child,
    /// The ports and process ids of the servers.
    servers: Vec<(u16, u32)>,
}

impl Run {
    fn start() -> Self {
        require_xtask_test();
        let mut xtask = tied(env!("CARGO_BIN_EXE_xtask"), DeathSignal::Terminate, None)
            .arg("servers")
            .env_remove("ROOST_TEST_MONGODB_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(xtask.stdout.take().unwrap()).lines();
        let lines: Vec<_> = lines.map(Result::unwrap).take(5).collect();
        assert!(
            lines[1].starts_with("export ROOST_TEST_POSTGRES_URL='postgres://"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("export ROOST_TEST_MONGODB_URL='mongodb://"),
            "{lines:?}"
        );
        assert!(
            lines[3].starts_with("export ROOST_TEST_REDIS_URL='redis://"),
            "{lines:?}"
        );
        assert!(
            lines[4].starts_with("export ROOST_TEST_CADDY='/"),
            "{lines:?}"
        );
        let servers = lines[1..4].iter().map(|line| {
            let port = line.rsplit(':').next().unwrap().split('/').next().unwrap();
            let port = port.parse().unwrap();
            (port, ports::owner(port).unwrap())
        });
        Self {
            servers: servers.collect(),
            xtask,
        }
    }

    fn send(&mut self, signal: &str) {
        let id = self.xtask.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        self.xtask.wait().unwrap();
    }

    fn is_over(&self) -> bool {
        self.servers.iter().all(|(port, process_id)| {
            let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err();
            refused && has_ended(*process_id)
        })
    }
}

#[test]
fn nothing_is_left_when_xtask_is_interrupted() {
    let mut run = Run::start();
    let prefix = format!("roost-server-{}-", run.xtask.id());
    run.send("-INT");
    assert!(run.is_over(), "a server outlived xtask");
    let left = fs::read_dir(env::temp_dir()).unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(&prefix)
    });
    assert_eq!(left.count(), 0, "a folder was left behind");
}

#[test]
fn no_server_outlives_an_xtask_that_was_killed() {
    let mut run = Run::start();
    run.send("-KILL");
    wait_until("the servers ended", || run.is_over());
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
