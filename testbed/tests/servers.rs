//! The real servers come back after being killed, can be paused, and are gone when they are dropped.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic with its place is the report"
)]

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use roost_testbed::ports;
use roost_testbed::process::has_ended;
use roost_testbed::servers::{postgres, redis, require_xtask_test};

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

fn sql(url: &str, statement: &str) -> String {
    let output = Command::new("psql")
        .args([url, "-qtAc", statement])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
