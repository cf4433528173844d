//! What is measured: Roost on one of its databases, as it is or as it was, and its peers.

use super::{
    folder_of,
    people::{DATABASE, People, SESSIONS},
};
use anyhow::{Context, Result};
use roost_testbed::{
    base::Base,
    peer::Peer,
    ports, process,
    roost::Roost,
    servers::{
        Server,
        caddy::{self, Caddy},
        postgres, redis,
    },
    workspace,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

pub(super) const RUST_PEERS: [&str; 3] = ["peer-socketioxide", "peer-bare", "peer-axum"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// One instance on `SQLite`.
    Sqlite,
    /// One instance on `PostgreSQL`.
    Postgres,
    /// Two instances on `PostgreSQL`, with Redis between them.
    Pair,
}

/// Where a peer takes the seqs of messages from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seqs {
    /// A counter of the room: 1, 2, 3, …, as Roost promises.
    Room,
    /// An identity column of the table, which promises less and never waits for another write.
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Roost(Setup),
    /// Through Caddy, as it is deployed.
    BehindCaddy,
    /// At the commit of `--before`.
    Before(Setup),
    /// Socket.IO and Fastify.
    Node,
    /// The same; it inserts into `PostgreSQL` before it emits and acknowledges.
    NodeDurable(Seqs),
    /// Two of those, with Redis between them.
    NodePair,
    Socketioxide,
    /// The same; it inserts into `PostgreSQL` before it emits and acknowledges.
    SocketioxideDurable(Seqs),
    Bare,
    Axum(Seqs),
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Roost(Setup::Sqlite) => "Roost, SQLite",
            Self::Roost(Setup::Postgres) => "Roost, PostgreSQL",
            Self::Roost(Setup::Pair) => "two Roosts, PostgreSQL, Redis",
            Self::BehindCaddy => "Roost, SQLite, behind Caddy",
            Self::Before(Setup::Sqlite) => "before, SQLite",
            Self::Before(Setup::Postgres) => "before, PostgreSQL",
            Self::Before(Setup::Pair) => "before, two, PostgreSQL, Redis",
            Self::Node => "Node",
            Self::NodeDurable(Seqs::Room) => "Node, PostgreSQL",
            Self::NodeDurable(Seqs::Table) => "Node, PostgreSQL, seqs of the table",
            Self::NodePair => "two Nodes, PostgreSQL, Redis",
            Self::Socketioxide => "socketioxide",
            Self::SocketioxideDurable(Seqs::Room) => "socketioxide, PostgreSQL",
            Self::SocketioxideDurable(Seqs::Table) => "socketioxide, PostgreSQL, seqs of the table",
            Self::Bare => "bare broadcaster",
            Self::Axum(Seqs::Room) => "axum, PostgreSQL",
            Self::Axum(Seqs::Table) => "axum, PostgreSQL, seqs of the table",
        })
    }
}

/// Targets of a kind can take over each other's databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
    SqliteBefore,
    PostgresBefore,
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
    /// One, or two with Redis between them.
    servers: Vec<AnyServer>,
    redis: Option<Server>,
    pub(super) postgres: Option<Server>,
    pub(super) folder: PathBuf,
}

enum AnyServer {
    Roost(Roost),
    Peer(Peer),
}

impl Running {
    pub(super) fn start(
        target: Target,
        programs: &Programs,
        people: &People,
        folder: &Path,
    ) -> Result<Self> {
        let folder = folder_of(folder, target)?;
        let postgres = target.has_postgres().then(postgres::start).transpose()?;
        people.restore(target, &folder, postgres.as_ref())?;
        let redis = target.is_pair().then(redis::start).transpose()?;
        let url = |server: &Option<Server>| server.as_ref().map(|server| server.url.clone());
        let stores = Stores {
            database: url(&postgres).map(|url| format!("{url}roost")),
            redis: url(&redis),
        };
        let count = if target.is_pair() { 2 } else { 1 };
        let servers: Vec<AnyServer> = (0..count)
            .map(|number| start_server(target, programs, &folder.join(number.to_string()), &stores))
            .collect::<Result<_>>()?;
        let caddy = match &servers[0] {
            AnyServer::Roost(roost) if target == Target::BehindCaddy => Some(start_caddy(roost)?),
            _ => None,
        };
        Ok(Self {
            target,
            caddy,
            servers,
            redis,
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
        if let Some(redis) = &mut self.redis {
            redis.restart()?;
        }
        for server in &mut self.servers {
            match server {
                AnyServer::Roost(roost) => roost.restart()?,
                AnyServer::Peer(peer) => peer.restart()?,
            }
        }
        if let Some(caddy) = &mut self.caddy {
            caddy.server.restart()?;
            caddy.wait_until_it_answers()?;
        }
        Ok(())
    }

    /// Ends the servers, if they run: they take nothing while others are measured.
    pub(super) fn stop(&mut self) -> Result<()> {
        for server in &mut self.servers {
            match server {
                AnyServer::Roost(roost) => roost.stop()?,
                AnyServer::Peer(peer) => peer.stop()?,
            }
        }
        Ok(())
    }

    /// Where clients connect: Caddy, if there is one.
    pub(super) fn urls(&self) -> Vec<String> {
        if let Some(caddy) = &self.caddy {
            return vec![caddy.url().to_owned()];
        }
        let url = |server: &AnyServer| match server {
            AnyServer::Roost(roost) => roost.url(),
            AnyServer::Peer(peer) => peer.url(),
        };
        self.servers.iter().map(url).collect()
    }

    pub(super) fn process_ids(&self) -> impl Iterator<Item = u32> {
        self.servers.iter().map(|server| match server {
            AnyServer::Roost(roost) => roost.process_id(),
            AnyServer::Peer(peer) => peer.process_id(),
        })
    }

    /// What works for the servers, by name.
    pub(super) fn watched(&self) -> Vec<(&'static str, u32)> {
        let database = self
            .postgres
            .as_ref()
            .map(|server| ("database", server.process_id()));
        let caddy = self
            .caddy
            .as_ref()
            .map(|caddy| ("Caddy", caddy.server.process_id()));
        let redis = self.redis.as_ref();
        let redis = redis.map(|server| ("Redis", server.process_id()));
        database.into_iter().chain(caddy).chain(redis).collect()
    }

    /// Whether people are registered there. The others take anybody.
    pub(super) fn keeps_people(&self) -> bool {
        !matches!(
            self.target,
            Target::Node
                | Target::NodePair
                | Target::Socketioxide
                | Target::SocketioxideDurable(_)
                | Target::Bare
        )
    }

    pub(super) fn has_passwords(&self) -> bool {
        matches!(self.servers[0], AnyServer::Roost(_))
    }

    /// Where the generator keeps the people's sessions.
    pub(super) fn sessions(&self) -> PathBuf {
        self.folder.join(SESSIONS)
    }
}

impl Target {
    /// Whom it is compared with: Roost on the same store, so that what a database takes of its own counts alike.
    pub(super) const fn base(self) -> Option<Self> {
        match self {
            Self::Roost(_) => None,
            Self::Before(Setup::Pair) | Self::NodePair => Some(Self::Roost(Setup::Pair)),
            _ if self.has_postgres() => Some(Self::Roost(Setup::Postgres)),
            _ => Some(Self::Roost(Setup::Sqlite)),
        }
    }

    /// None: a peer, whose people cost it nothing.
    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Roost(Setup::Sqlite) | Self::BehindCaddy => Some(Kind::Sqlite),
            Self::Roost(Setup::Postgres | Setup::Pair) => Some(Kind::Postgres),
            Self::Before(Setup::Sqlite) => Some(Kind::SqliteBefore),
            Self::Before(Setup::Postgres | Setup::Pair) => Some(Kind::PostgresBefore),
            _ => None,
        }
    }

    /// Two servers with Redis between them.
    const fn is_pair(self) -> bool {
        matches!(
            self,
            Self::Roost(Setup::Pair) | Self::Before(Setup::Pair) | Self::NodePair
        )
    }

    const fn has_postgres(self) -> bool {
        match self {
            Self::Roost(setup) | Self::Before(setup) => !matches!(setup, Setup::Sqlite),
            Self::NodeDurable(_)
            | Self::NodePair
            | Self::SocketioxideDurable(_)
            | Self::Axum(_) => true,
            Self::BehindCaddy | Self::Node | Self::Socketioxide | Self::Bare => false,
        }
    }

    /// How a peer is told where its seqs come from.
    const fn seqs(self) -> Option<&'static str> {
        match self {
            Self::NodeDurable(Seqs::Table)
            | Self::SocketioxideDurable(Seqs::Table)
            | Self::Axum(Seqs::Table) => Some("table"),
            _ => None,
        }
    }
}

/// Limits that are there for one machine's clients would be met by the generator.
pub(super) const LIMITS: [(&str, &str); 8] = [
    ("ROOST_TRUSTED_PROXIES", "127.0.0.1"),
    ("ROOST_ADDRESS_REQUESTS_PER_SECOND", "100000"),
    ("ROOST_ACCOUNT_REQUESTS_PER_SECOND", "100000"),
    ("ROOST_ADDRESS_HANDSHAKES_PER_SECOND", "100000"),
    ("ROOST_ADDRESS_SIGN_INS_PER_SECOND", "100000"),
    ("ROOST_CONNECTIONS_MAX", "20000"),
    ("ROOST_ACCESS_TOKEN_LIFETIME", "1h"),
    ("ROOST_LOG_LEVEL", "warn"),
];

/// Their URLs, of those that a target has.
struct Stores {
    database: Option<String>,
    redis: Option<String>,
}

fn start_server(
    target: Target,
    programs: &Programs,
    folder: &Path,
    stores: &Stores,
) -> Result<AnyServer> {
    fs::create_dir_all(folder)?;
    match target {
        Target::Roost(_) | Target::BehindCaddy => start_roost(&programs.roost, folder, stores),
        Target::Before(_) => {
            let before = programs.before.as_ref().context("no commit was named")?;
            start_roost(&before.program, folder, stores)
        }
        _ => start_peer(target, programs, stores).map(AnyServer::Peer),
    }
}

fn start_roost(program: &Path, folder: &Path, stores: &Stores) -> Result<AnyServer> {
    let sqlite = || format!("sqlite:{}?mode=rwc", folder.join(DATABASE).display());
    let database = stores.database.clone().unwrap_or_else(sqlite);
    let mut environment = vec![("ROOST_DATABASE_URL", database)];
    environment.extend(stores.redis.clone().map(|url| ("ROOST_REDIS_URL", url)));
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

fn start_peer(target: Target, programs: &Programs, stores: &Stores) -> Result<Peer> {
    let mut arguments = Vec::new();
    let program = match target {
        Target::Socketioxide | Target::SocketioxideDurable(_) => {
            programs.folder.join("peer-socketioxide")
        }
        Target::Bare => programs.folder.join("peer-bare"),
        Target::Axum(_) => programs.folder.join("peer-axum"),
        _ => {
            arguments.push(node_folder().join("peer.mjs").display().to_string());
            process::find_on_path("node").context("Node is missing")?
        }
    };
    for (option, value) in [
        ("--database", stores.database.as_deref()),
        ("--redis", stores.redis.as_deref()),
        ("--seq", target.seqs()),
    ] {
        arguments.extend(
            value
                .into_iter()
                .flat_map(|value| [option.to_owned(), value.to_owned()]),
        );
    }
    Peer::start(&program, arguments)
}
