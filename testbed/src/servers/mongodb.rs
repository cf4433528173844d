//! A server that speaks MongoDB's wire protocol: one that is given by URL, else `mongod` from PATH, else SecantusDB.
//!
//! No package registry carries MongoDB itself. SecantusDB (GPL-2) is only ever an external process of the tests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bson::{Document, doc};
use rustix::process::Signal;

use super::{Launch, Server, temporary_folder, wire};
use crate::process::{self, DeathSignal, tied};
use crate::{ports, tools, workspace};

/// Names a server that is already running. `cargo xtask test` sets it to the server that it starts.
pub const URL_VARIABLE: &str = "ROOST_TEST_MONGODB_URL";
const REQUIREMENTS: [&str; 2] = ["SecantusDB==0.7.0b3", "pymongo==4.20.0"];
/// Without it SecantusDB lost acknowledged writes when it was killed: no test of durability would mean anything.
const SYNC_ARGUMENT: &str = "--sync-on-commit";
/// The most connections of each instance. SecantusDB serves one request at a time under one lock. Some ninety that
/// waited there, each with its view of the data, were seen to keep its cache from being cleared; then it answered
/// almost nothing for minutes.
const CONNECTIONS_MAX: u32 = 4;
const SECANTUS: &str = "secantusd-py";

/// A server that this process started, or one that is given by URL.
pub enum MongoDb {
    Given { url: String },
    Ours(Box<Server>),
}

impl MongoDb {
    pub fn url(&self) -> &str {
        match self {
            Self::Given { url } => url,
            Self::Ours(server) => &server.url,
        }
    }

    /// The URL of a database for this process alone: a given server may have other data.
    pub fn database_url(&self, purpose: &str) -> Result<String> {
        let (scheme, rest) = self
            .url()
            .split_once("://")
            .context("a MongoDB URL has a scheme")?;
        let (server, options) = rest.split_once('?').unwrap_or((rest, ""));
        let server = server.split('/').next().unwrap_or(server);
        let name = format!("roost_{purpose}_{}", std::process::id());
        Ok(format!("{scheme}://{server}/{name}?{options}"))
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Given { url } => format!("the MongoDB-wire server given as {url}"),
            Self::Ours(server) => server.describe(),
        }
    }

    pub fn check_alive(&mut self) -> Result<()> {
        match self {
            Self::Given { .. } => Ok(()),
            Self::Ours(server) => server.check_alive(),
        }
    }
}

pub fn start() -> Result<MongoDb> {
    if let Some(url) = workspace::environment(URL_VARIABLE) {
        check_given(&url)?;
        return Ok(MongoDb::Given { url });
    }
    let server = match process::find_on_path("mongod") {
        Some(mongod) => start_mongod(mongod)?,
        None => start_secantus()?,
    };
    Ok(MongoDb::Ours(Box::new(server)))
}

fn start_mongod(mongod: PathBuf) -> Result<Server> {
    let launch = Launch {
        name: "MongoDB",
        command: Box::new(move |port, folder| {
            let mut command = tied(&mongod, DeathSignal::Kill, None);
            command.args(["--replSet", "roost", "--bind_ip", "127.0.0.1", "--port"]);
            command.arg(port.to_string());
            command.arg("--dbpath").arg(folder.path());
            command
        }),
        // A replica set of one has to be initiated once. A second call is refused and changes nothing.
        is_ready: Box::new(|port| {
            let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
            let set = doc! { "_id": "roost", "members": [member] };
            is_primary(port)
                || (wire::command(port, &doc! { "replSetInitiate": set, "$db": "admin" }).is_ok()
                    && is_primary(port))
        }),
        stop_signal: Signal::TERM,
        discard_signal: Signal::KILL,
    };
    finish(Server::start(launch, temporary_folder()?)?, "MongoDB")
}

fn start_secantus() -> Result<Server> {
    let bin = tools::python_venv("secantusdb", &REQUIREMENTS)
        .context("no MongoDB-wire server: no URL in ROOST_TEST_MONGODB_URL, no `mongod` on PATH, no SecantusDB")?;
    let program = bin.join(SECANTUS);
    let launch = Launch {
        name: "SecantusDB",
        command: Box::new(move |port, folder| {
            let mut command = tied(&program, DeathSignal::Kill, None);
            command.arg("--port").arg(port.to_string());
            command
                .arg("--storage-path")
                .arg(folder.path().join("data"));
            command.args(["--log-level", "ERROR", SYNC_ARGUMENT]);
            command
        }),
        is_ready: Box::new(is_primary),
        stop_signal: Signal::TERM,
        discard_signal: Signal::KILL,
    };
    let server = Server::start(launch, temporary_folder()?)?;
    check_synced(&ports::command_line(server.process_id())?)?;
    finish(server, "SecantusDB")
}

fn finish(mut server: Server, name: &str) -> Result<Server> {
    let answer = wire::command(server.port(), &doc! { "buildInfo": 1, "$db": "admin" })?;
    let version = answer.get_str("version").unwrap_or("of unknown version");
    server.version = format!("{name} (MongoDB wire {version})");
    server.url = format!(
        "mongodb://127.0.0.1:{}/?directConnection=true&maxPoolSize={CONNECTIONS_MAX}",
        server.port()
    );
    Ok(server)
}

fn is_primary(port: u16) -> bool {
    let answer = wire::command(port, &doc! { "hello": 1, "$db": "admin" });
    answer.is_ok_and(|answer: Document| answer.get_bool("isWritablePrimary").unwrap_or(false))
}

/// Accepts any given server, except a SecantusDB on this machine that may lose writes.
fn check_given(url: &str) -> Result<()> {
    let Some(rest) = url.strip_prefix("mongodb://") else {
        bail!("{URL_VARIABLE} must start with mongodb://");
    };
    match loopback_port(rest).and_then(ports::owner) {
        Some(process_id) => check_synced(&ports::command_line(process_id)?),
        None => Ok(()),
    }
}

fn loopback_port(rest: &str) -> Option<u16> {
    let host = rest.split(['/', '?']).next()?;
    let (name, port) = host.rsplit('@').next()?.rsplit_once(':')?;
    matches!(name, "127.0.0.1" | "localhost").then(|| port.parse().ok())?
}

/// Refuses a SecantusDB whose command line does not ask for durable commits.
fn check_synced(words: &[String]) -> Result<()> {
    let is_secantus = words.iter().any(|word| {
        Path::new(word)
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains("secantusd"))
    });
    if is_secantus && !words.iter().any(|word| word == SYNC_ARGUMENT) {
        bail!(
            "SecantusDB runs without {SYNC_ARGUMENT} and may lose acknowledged writes: {}",
            words.join(" ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_secantusdb_that_may_lose_writes_is_refused() {
        let synced = "/venv/bin/python /venv/bin/secantusd-py --port 1 --sync-on-commit";
        let unsynced = "/venv/bin/python /venv/bin/secantusd-py --port 1";
        assert!(check_synced(&words(synced)).is_ok());
        let error = check_synced(&words(unsynced)).unwrap_err();
        assert!(error.to_string().contains(SYNC_ARGUMENT), "{error}");
        assert!(check_synced(&words("mongod --port 1")).is_ok());
    }

    #[test]
    fn the_port_of_a_server_on_this_machine_is_found_in_its_url() {
        assert_eq!(
            loopback_port("127.0.0.1:20001/?directConnection=true"),
            Some(20_001)
        );
        assert_eq!(loopback_port("user:pass@localhost:27017"), Some(27_017));
        assert_eq!(loopback_port("db.example.org:27017/"), None);
        assert_eq!(loopback_port("127.0.0.1"), None);
    }

    #[test]
    fn only_a_mongodb_url_is_taken() {
        assert!(check_given("http://127.0.0.1:1").is_err());
        assert!(check_given("mongodb://db.example.org:27017/").is_ok());
    }
}
