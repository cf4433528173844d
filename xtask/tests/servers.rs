//! The real servers end with whoever started them, however that happened, and come back after being killed.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic with its place is the report"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use roost_testbed::ports;
use roost_testbed::process::{DeathSignal, tied};
use roost_testbed::servers::{postgres, redis};

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

#[test]
fn a_killed_server_comes_back_with_its_data_on_its_port() {
    require_xtask_test();
    let mut server = postgres::start().unwrap();
    let port = server.port();
    sql(&server.url, "create table kept as select 7 as number");
    let first = server.process_id();

    server.kill_nine().unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    server.restart().unwrap();

    assert_ne!(server.process_id(), first);
    assert!(ports::is_owned_by(port, server.process_id()));
    assert_eq!(sql(&server.url, "select number from kept"), "7");
    let last = server.process_id();
    drop(server);
    assert!(has_ended(last));
}

#[test]
fn redis_speaks_tls_when_it_is_asked_to_and_can_be_paused() {
    require_xtask_test();
    let mut redis = redis::start_with_tls().unwrap();
    let port = redis.server.port().to_string();
    let authority = redis.authority.clone();
    let ask = |seconds: &str| {
        let mut command = Command::new("timeout");
        command.args([
            seconds,
            "redis-cli",
            "-h",
            "localhost",
            "-p",
            &port,
            "--tls",
        ]);
        command.arg("--cacert").arg(&authority).arg("ping");
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(ask("5"), "PONG");

    redis.server.pause().unwrap();
    assert_eq!(ask("0.3"), "");
    redis.server.resume().unwrap();
    assert_eq!(ask("5"), "PONG");
    let last = redis.server.process_id();
    drop(redis);
    assert!(has_ended(last));
}

/// These tests start servers, which xtask may have to install first: that is not for a plain `cargo test` to do.
fn require_xtask_test() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the variable is how xtask speaks to tests"
    )]
    let given = env::var_os("ROOST_TEST_POSTGRES_URL");
    assert!(
        given.is_some(),
        "ROOST_TEST_POSTGRES_URL is not set: run `cargo xtask test`"
    );
}

fn sql(url: &str, statement: &str) -> String {
    let output = Command::new("psql")
        .args([url, "-qtAc", statement])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Gone, or a zombie that process 1 has not collected yet.
fn has_ended(process_id: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(process_id.to_string()).join("stat"));
    status.map_or(true, |status| {
        status
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
