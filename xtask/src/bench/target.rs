//! What is measured: Roost on one of its databases, as it is or as it was, and its peers.

use super::folder_of;
use anyhow::{Context, Result};
use roost_testbed::{
    base::Base,
    peer::Peer,
    ports, process,
    roost::Roost,
    servers::{
        Server,
        caddy::{self, Caddy},
        postgres,
    },
    workspace,
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

pub(super) const RUST_PEERS: [&str; 3] = ["peer-socketioxide", "peer-bare", "peer-axum"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Roost(Store),
    /// Through Caddy, as it is deployed.
    BehindCaddy,
    /// At the commit of `--before`.
    Before(Store),
    /// Socket.IO and Fastify.
    Node,
    /// The same; it inserts into `PostgreSQL` before it emits and acknowledges.
    NodeDurable,
    Socketioxide,
    Bare,
    Axum,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Roost(Store::Sqlite) => "Roost, SQLite",
            Self::Roost(Store::Postgres) => "Roost, PostgreSQL",
            Self::BehindCaddy => "Roost, SQLite, behind Caddy",
            Self::Before(Store::Sqlite) => "before, SQLite",
            Self::Before(Store::Postgres) => "before, PostgreSQL",
            Self::Node => "Node",
            Self::NodeDurable => "Node, PostgreSQL",
            Self::Socketioxide => "socketioxide",
            Self::Bare => "bare broadcaster",
            Self::Axum => "axum, PostgreSQL",
        })
    }
}

/// What was built.
pub(super) struct Programs {
    pub(super) roost: PathBuf,
    pub(super) before: Option<Base>,
    /// Of the generator and of the peers in Rust.
    pub(super) folder: PathBuf,
}

pub(super) fn node_folder() -> PathBuf {
    workspace::root().join("loadtest/peers/node")
}

/// A target with its database.
pub(super) struct Running {
    pub(super) target: Target,
    caddy: Option<Caddy>,
    server: AnyServer,
    postgres: Option<Server>,
    pub(super) folder: PathBuf,
}

enum AnyServer {
    Roost(Roost),
    Peer(Peer),
}

impl Running {
    pub(super) fn start(target: Target, programs: &Programs, folder: &Path) -> Result<Self> {
        let folder = folder_of(folder, target)?;
        let postgres = target.has_postgres().then(postgres::start).transpose()?;
        let database = postgres
            .as_ref()
            .map(|server| format!("{}roost", server.url));
        let server = match target {
            Target::Roost(_) | Target::BehindCaddy => {
                start_roost(&programs.roost, &folder, database)?
            }
            Target::Before(_) => {
                let before = programs.before.as_ref().context("no commit was named")?;
                start_roost(&before.program, &folder, database)?
            }
            _ => AnyServer::Peer(start_peer(target, programs, database)?),
        };
        let caddy = match &server {
            AnyServer::Roost(roost) if target == Target::BehindCaddy => Some(start_caddy(roost)?),
            _ => None,
        };
        Ok(Self {
            target,
            caddy,
            server,
            postgres,
            folder,
        })
    }

    /// Everything anew, with fresh memory, on the processors that this process has now.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        if let Some(postgres) = &mut self.postgres {
            postgres.restart()?;
        }
        match &mut self.server {
            AnyServer::Roost(roost) => roost.restart()?,
            AnyServer::Peer(peer) => peer.restart()?,
        }
        if let Some(caddy) = &mut self.caddy {
            caddy.server.restart()?;
            caddy.wait_until_it_answers()?;
        }
        Ok(())
    }

    /// Ends the server, if it runs: it takes nothing while others are measured.
    pub(super) fn stop(&mut self) -> Result<()> {
        match &mut self.server {
            AnyServer::Roost(roost) => roost.stop(),
            AnyServer::Peer(peer) => peer.stop(),
        }
    }

    /// Where clients connect: Caddy, if there is one.
    pub(super) fn url(&self) -> String {
        match (&self.caddy, &self.server) {
            (Some(caddy), _) => caddy.url().to_owned(),
            (None, AnyServer::Roost(roost)) => roost.url(),
            (None, AnyServer::Peer(peer)) => peer.url(),
        }
    }

    pub(super) fn process_id(&self) -> u32 {
        match &self.server {
            AnyServer::Roost(roost) => roost.process_id(),
            AnyServer::Peer(peer) => peer.process_id(),
        }
    }

    /// What works for the server, by name.
    pub(super) fn watched(&self) -> Vec<(&'static str, u32)> {
        let database = self
            .postgres
            .as_ref()
            .map(|server| ("database", server.process_id()));
        let caddy = self
            .caddy
            .as_ref()
            .map(|caddy| ("Caddy", caddy.server.process_id()));
        database.into_iter().chain(caddy).collect()
    }

    /// Whether people are registered there. The others take anybody.
    pub(super) fn keeps_people(&self) -> bool {
        !matches!(
            self.target,
            Target::Node | Target::Socketioxide | Target::Bare
        )
    }

    pub(super) fn has_passwords(&self) -> bool {
        matches!(self.server, AnyServer::Roost(_))
    }

    /// Where the generator keeps the people's sessions.
    pub(super) fn sessions(&self) -> PathBuf {
        self.folder.join("sessions.json")
    }
}

impl Target {
    /// Whom it is compared with: Roost on the same store, so that what a database takes of its own counts alike.
    pub(super) const fn base(self) -> Option<Self> {
        match self {
            Self::Roost(_) => None,
            Self::Before(Store::Postgres) | Self::NodeDurable | Self::Axum => {
                Some(Self::Roost(Store::Postgres))
            }
            _ => Some(Self::Roost(Store::Sqlite)),
        }
    }

    const fn has_postgres(self) -> bool {
        matches!(
            self,
            Self::Roost(Store::Postgres)
                | Self::Before(Store::Postgres)
                | Self::NodeDurable
                | Self::Axum
        )
    }
}

/// Limits that are there for one machine's clients would be met by the generator.
const LIMITS: [(&str, &str); 8] = [
    ("ROOST_TRUSTED_PROXIES", "127.0.0.1"),
    ("ROOST_ADDRESS_REQUESTS_PER_SECOND", "100000"),
    ("ROOST_ACCOUNT_REQUESTS_PER_SECOND", "100000"),
    ("ROOST_ADDRESS_HANDSHAKES_PER_SECOND", "100000"),
    ("ROOST_ADDRESS_SIGN_INS_PER_SECOND", "100000"),
    ("ROOST_CONNECTIONS_MAX", "20000"),
    ("ROOST_ACCESS_TOKEN_LIFETIME", "1h"),
    ("ROOST_LOG_LEVEL", "warn"),
];

fn start_roost(program: &Path, folder: &Path, database: Option<String>) -> Result<AnyServer> {
    let sqlite = || format!("sqlite:{}?mode=rwc", folder.join("roost.db").display());
    let mut environment = vec![("ROOST_DATABASE_URL", database.unwrap_or_else(sqlite))];
    environment.extend(LIMITS.map(|(key, value)| (key, value.to_owned())));
    let started = Roost::start_on(ports::free_port()?, program, folder, environment)?;
    Ok(AnyServer::Roost(started))
}

fn start_caddy(roost: &Roost) -> Result<Caddy> {
    Caddy::start(&caddy::Options {
        upstreams: vec![roost.address()],
        ..caddy::Options::default()
    })
}

fn start_peer(target: Target, programs: &Programs, database: Option<String>) -> Result<Peer> {
    let mut arguments = Vec::new();
    let program = match target {
        Target::Socketioxide => programs.folder.join("peer-socketioxide"),
        Target::Bare => programs.folder.join("peer-bare"),
        Target::Axum => programs.folder.join("peer-axum"),
        _ => {
            arguments.push(node_folder().join("peer.mjs").display().to_string());
            process::find_on_path("node").context("Node is missing")?
        }
    };
    if let Some(database) = database {
        arguments.extend(["--database".to_owned(), database]);
    }
    Peer::start(&program, arguments)
}
