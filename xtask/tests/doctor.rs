//! `roost doctor` before servers of its own, which are made weaker and spoken to by TLS; and a server that
//! reaches its Redis by TLS.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic with its place is the report"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use roost_testbed::ports;
use roost_testbed::roost::{self, Roost};
use roost_testbed::servers::{postgres, redis};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_redis_that_would_forget_is_a_problem() {
    let program = program();
    let redis = redis::start().unwrap();
    let variables = [("ROOST_REDIS_URL", redis.url.clone())];
    let port = redis.port().to_string();
    assert_line(&doctor(&program, &variables), "ok       redis memory");

    let cli = [
        "-p",
        &port,
        "config",
        "set",
        "maxmemory-policy",
        "allkeys-lru",
    ];
    succeed(Command::new("redis-cli").args(cli));
    let output = doctor(&program, &variables);
    assert_line(
        &output,
        "problem  redis memory      maxmemory-policy allkeys-lru",
    );
    assert!(!output.status.success());
}

#[test]
fn a_redis_that_hangs_is_given_up_and_the_rest_is_looked_at() {
    let program = program();
    let mut redis = redis::start().unwrap();
    redis.pause().unwrap();
    let begun = Instant::now();
    let output = doctor(&program, &[("ROOST_REDIS_URL", redis.url.clone())]);
    assert!(begun.elapsed() < PATIENCE);
    assert_line(&output, "problem  redis");
    assert_line(&output, "ok       database");
}

#[test]
fn a_database_that_does_not_wait_for_its_disk_is_a_problem() {
    let program = program();
    let server = postgres::start().unwrap();
    let url = format!("{}roost", server.url);
    let variables = [("ROOST_DATABASE_URL", url.clone())];
    assert_line(&doctor(&program, &variables), "ok       durability");
    for setting in ["fsync", "full_page_writes"] {
        let set = |to: &str| {
            let alter = format!("ALTER SYSTEM SET {setting} = {to}");
            let reload = "SELECT pg_reload_conf()";
            succeed(Command::new("psql").args([&url, "-qtAc", &alter, "-c", reload]));
        };
        set("off");
        // The postmaster tells its children when it comes to it.
        wait_until(&format!("{setting} is off"), || {
            let output = doctor(&program, &variables);
            let page = String::from_utf8_lossy(&output.stdout);
            let line = page.lines().find(|line| line.contains(" durability "));
            let line = line.unwrap();
            line.starts_with("problem") && line.contains(&format!("{setting} = off"))
        });
        set("on");
    }
}

#[test]
fn redis_is_reached_by_tls_when_its_authority_is_trusted() {
    let program = program();
    let redis = redis::start_with_tls().unwrap();
    let url = redis.server.url.clone();
    let stranger = doctor(&program, &[("ROOST_REDIS_URL", url.clone())]);
    assert_line(&stranger, "problem  redis");

    let authority = redis.authority.display().to_string();
    let variables = vec![("ROOST_REDIS_URL", url), ("SSL_CERT_FILE", authority)];
    let output = doctor(&program, &variables);
    assert_line(&output, "ok redis Redis");

    let folder = tempfile::tempdir().unwrap();
    let port = ports::free_port().unwrap();
    let _roost = Roost::start_on(port, &program, folder.path(), variables).unwrap();
    let socket = redis.authority.with_file_name("redis.sock");
    wait_until("the server listens to its Redis", || {
        let mut ask = Command::new("redis-cli");
        ask.arg("-s")
            .arg(&socket)
            .args(["pubsub", "channels", "roost:*"]);
        succeed(&mut ask).contains("roost:")
    });
}

/// What `cargo xtask test` has built.
fn program() -> PathBuf {
    roost::build(true).unwrap()
}

/// With an `SQLite` file that is not there, unless another database is named.
fn doctor(program: &Path, variables: &[(&str, String)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(program)
        .arg("doctor")
        .env_clear()
        .env("ROOST_LISTEN", "127.0.0.1:0")
        .env("ROOST_METRICS_LISTEN", "")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder.path())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_line(output: &Output, begin: &str) {
    let page = String::from_utf8_lossy(&output.stdout);
    let in_words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let begin = in_words(begin);
    let is_there = page.lines().any(|line| in_words(line).starts_with(&begin));
    assert!(is_there, "no line begins with {begin:?} in\n{page}");
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
