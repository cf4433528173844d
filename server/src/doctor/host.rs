//! Checks this host: how many files the program may open, and whether its addresses are free.

use super::{Check, PATIENCE};
use crate::config::{Config, reachable};
use rustix::process::{Resource, getrlimit};
use std::{io::ErrorKind, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Files that an instance opens besides its clients' connections: connections to the stores, logs, and a reserve.
const FILES_BESIDE: u64 = 256;
/// With fewer files than this the stores' connections are at risk, even if the configuration needs less.
const FILES_MIN: u64 = 1_024;
/// Bytes of an answer that are read to see whether a Roost gave it.
const ANSWER_BYTES_MAX: u64 = 64 * 1_024;

pub(super) fn file_limit(config: &Config) -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    judge_file_limit(limit, config.connections_max.into())
}

fn judge_file_limit(limit: Option<u64>, connections_max: u64) -> Check {
    const NAME: &str = "file limit";
    const ADVICE: &str = "raise the limit of whatever starts Roost (LimitNOFILE= of systemd, `ulimits` \
        of compose, `ulimit -n`), or lower connections_max";
    let needed = connections_max + FILES_BESIDE;
    let Some(limit) = limit.filter(|limit| *limit < needed) else {
        return Check::ok(NAME, format!("enough for {connections_max} connections"));
    };
    let finding = format!(
        "{limit} files may be open here; connections_max = {connections_max} needs about {needed}"
    );
    if limit < FILES_MIN {
        return Check::problem(NAME, finding, ADVICE);
    }
    Check::warning(NAME, finding, ADVICE)
}

pub(super) async fn addresses(config: &Config) -> Vec<Check> {
    let mut checks = vec![address("listen", config.listen, "/livez", "x-roost-instance").await];
    if let Some(metrics) = config.metrics_listen {
        checks.push(address("metrics_listen", metrics, "/metrics", "roost_").await);
    }
    checks
}

/// Checks that an address is free, or that a Roost listens on it, which answers `path` with a body that contains
/// `sign`.
async fn address(name: &'static str, address: SocketAddr, path: &str, sign: &str) -> Check {
    match TcpListener::bind(address).await {
        Ok(_) if address.port() == 0 => Check::ok(name, "any free port"),
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let answer = timeout(PATIENCE, ask(reachable(address), path)).await;
            let is_roost = matches!(answer, Ok(Ok(answer)) if answer.contains(sign));
            if is_roost {
                return Check::ok(name, format!("a Roost listens on {address}"));
            }
            Check::problem(
                name,
                format!("{address} is taken by another program"),
                "end that program, or let Roost listen on another address",
            )
        }
        Err(error) => Check::problem(
            name,
            format!("{address} cannot be listened on: {error}"),
            "name an address of this host, and a port above 1023 unless you may use a lower one",
        ),
    }
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_file_limit_is_held_against_the_connections() {
        for (limit, verdict) in [
            (None, Verdict::Ok),
            (Some(10_256), Verdict::Ok),
            (Some(10_255), Verdict::Warning),
            (Some(1_023), Verdict::Problem),
        ] {
            assert_eq!(judge_file_limit(limit, 10_000).verdict, verdict);
        }
    }
}
