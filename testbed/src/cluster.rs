//! A whole cluster on this machine: Caddy, N instances, PostgreSQL, a MongoDB wire and Redis, all real, on private
//! ports, with their data in temporary folders. `up --cluster`, the conformance suites and the proofs stand on it.
//!
//! Start it from a thread that lives as long as it should: the kernel ends every program of it with that thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::roost::{self, Roost};
use crate::servers::caddy::{self, Caddy};
use crate::servers::mongodb::{self, MongoDb};
use crate::servers::{Server, postgres, redis, temporary_folder};
use crate::{interrupt, ports, process};

pub const INSTANCES: usize = 3;
/// How many instances the Caddyfile names beyond the first three.
const SPARES: usize = 2;
/// Longer than Caddy takes to notice that an instance is not ready, so that Caddy sends no request to one that has
/// ended.
const DRAIN_DELAY: &str = "3s";
const CADDY_PATIENCE: Duration = Duration::from_secs(20);
/// Enough requests that each instance which Caddy takes for ready gets one.
const CADDY_PROBES: usize = 30;
/// Caddy.
const TRUSTED_PROXIES: &str = "127.0.0.1";
/// The name of the database in the PostgreSQL of the testbed.
const DATABASE: &str = "roost";

/// The parts of a cluster.
pub struct Options {
    /// From `roost::build`.
    pub program: PathBuf,
    pub instances: usize,
    /// How many more instances the Caddyfile names. Caddy finds each when it is started.
    pub spares: usize,
    /// Whether the journal is kept in MongoDB; otherwise in PostgreSQL.
    pub mongodb: bool,
    pub redis: Redis,
    /// Where clients connect; any free port when there is none.
    pub caddy_port: Option<u16>,
    /// Further variables for every instance, beyond its stores. Limits are at their defaults.
    pub environment: Vec<(&'static str, String)>,
}

/// Whether Redis runs. The instances are configured to use one in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redis {
    Running,
    /// Nothing listens on the configured port.
    Off,
}

impl Options {
    /// Three instances with everything.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            instances: INSTANCES,
            spares: SPARES,
            mongodb: true,
            redis: Redis::Running,
            caddy_port: None,
            environment: Vec::new(),
        }
    }
}

/// A running cluster. Dropping it ends everything at once; `stop` lets the instances finish first.
///
/// Its fields are dropped in this order: the instances before the stores that they use.
pub struct Cluster {
    instances: Vec<Roost>,
    caddy: Caddy,
    redis: Option<Server>,
    mongodb: Option<MongoDb>,
    postgres: Server,
    program: PathBuf,
    /// The ports of all instances that Caddy knows, also of those that do not run yet.
    ports: Vec<u16>,
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl Cluster {
    /// Returns when every instance is ready and Caddy answers.
    pub fn start(options: Options) -> Result<Self> {
        let folder = temporary_folder()?;
        let postgres = postgres::start()?;
        let mongodb = options.mongodb.then(mongodb::start).transpose()?;
        let redis = (options.redis == Redis::Running)
            .then(redis::start)
            .transpose()?;
        let redis_url = match &redis {
            Some(server) => server.url.clone(),
            None => format!("redis://127.0.0.1:{}/", ports::free_port()?),
        };
        let journal_url = mongodb.as_ref().map_or_else(
            || Ok(String::new()),
            |server| server.database_url("cluster"),
        )?;
        let mut environment = vec![
            ("ROOST_DATABASE_URL", format!("{}{DATABASE}", postgres.url)),
            ("ROOST_JOURNAL_URL", journal_url),
            ("ROOST_REDIS_URL", redis_url),
            ("ROOST_TRUSTED_PROXIES", TRUSTED_PROXIES.to_owned()),
            ("ROOST_DRAIN_DELAY", DRAIN_DELAY.to_owned()),
        ];
        environment.extend(options.environment);
        let ports = (0..options.instances + options.spares)
            .map(|_| ports::free_port())
            .collect::<Result<Vec<_>>>()?;
        // The instances start one after the other, because the first one makes the tables and the signing key.
        let places = ports.iter().take(options.instances).enumerate();
        let instances = places
            .map(|(index, port)| {
                start_instance(&options.program, &folder, index, *port, &environment)
            })
            .collect::<Result<Vec<_>>>()?;
        let caddy = Caddy::start(&caddy::Options {
            upstreams: addresses(&ports),
            port: options.caddy_port,
            trusted_proxies: String::new(),
        })?;
        let cluster = Self {
            instances,
            caddy,
            redis,
            mongodb,
            postgres,
            program: options.program,
            ports,
            environment,
            folder,
        };
        cluster.wait_for_caddy()?;
        Ok(cluster)
    }

    /// Waits until Caddy sends requests only to instances that run. At first it takes all that it knows for ready.
    fn wait_for_caddy(&self) -> Result<()> {
        let deadline = Instant::now() + CADDY_PATIENCE;
        while !(0..CADDY_PROBES).all(|_| self.caddy.answers_at_once()) {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("Caddy does not find the instances");
            }
            thread::sleep(process::POLL);
        }
        Ok(())
    }

    /// Where clients connect: Caddy.
    pub fn url(&self) -> &str {
        self.caddy.url()
    }

    /// The instances, in the order they were started.
    pub fn instances(&self) -> &[Roost] {
        &self.instances
    }

    /// The instance with this index, counted from 0.
    pub fn instance(&mut self, index: usize) -> Result<&mut Roost> {
        let count = self.instances.len();
        self.instances
            .get_mut(index)
            .with_context(|| format!("no instance {index}: there are {count}, counted from 0"))
    }

    /// Ends an instance as a power cut would.
    pub fn kill_nine(&mut self, index: usize) -> Result<()> {
        self.instance(index)?.kill_nine()
    }

    /// Asks an instance to stop and waits until it has; an error when it did not stop in order.
    pub fn terminate(&mut self, index: usize) -> Result<()> {
        self.instance(index)?.stop()
    }

    /// Starts an instance that has ended, on its ports, and waits until it is ready. Caddy finds it within 1 s.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.instance(index)?.restart()
    }

    /// Replaces an instance by another release, as an operator does: it is asked to stop and waited for, then the
    /// other program starts on its port with its configuration.
    pub fn replace(&mut self, index: usize, program: &Path) -> Result<()> {
        let instance = self.instance(index)?;
        instance.stop()?;
        instance.restart_as(program)
    }

    /// Starts one more instance and gives its index. Caddy finds a spare one within 1 s. For any other, Caddy is given
    /// a new list of instances, which may cut off clients that are just connecting; open sockets stay where they are.
    pub fn add_instance(&mut self) -> Result<usize> {
        let index = self.instances.len();
        let is_known = index < self.ports.len();
        if !is_known {
            self.ports.push(ports::free_port()?);
        }
        let port = self.ports[index];
        let added = start_instance(&self.program, &self.folder, index, port, &self.environment)?;
        self.instances.push(added);
        if !is_known {
            self.caddy.reload(&addresses(&self.ports))?;
        }
        Ok(index)
    }

    /// The value of a variable that every instance was given.
    pub fn variable(&self, name: &str) -> Result<&str> {
        let mut variables = self.environment.iter();
        let found = variables.find(|(known, _)| *known == name);
        let (_, value) = found.with_context(|| format!("{name} is not set"))?;
        Ok(value)
    }

    /// The body of an instance's `/metrics`.
    pub fn metrics(&self, index: usize) -> Result<String> {
        let instance = self.instances.get(index);
        instance.context("no such instance")?.metrics()
    }

    pub fn caddy(&mut self) -> &mut Caddy {
        &mut self.caddy
    }

    /// The Redis server, to be killed, restarted or paused; `None` unless it runs.
    pub fn redis(&mut self) -> Option<&mut Server> {
        self.redis.as_mut()
    }

    pub fn postgres(&mut self) -> &mut Server {
        &mut self.postgres
    }

    pub fn mongodb(&mut self) -> Option<&mut MongoDb> {
        self.mongodb.as_mut()
    }

    /// The ports, processes and versions, one line each.
    pub fn describe(&self) -> String {
        let mut lines = vec![self.caddy.server.describe(), self.postgres.describe()];
        lines.extend(self.mongodb.as_ref().map(MongoDb::describe));
        lines.extend(self.redis.as_ref().map(Server::describe));
        lines.join("\n")
    }

    /// Shows the newest warnings and errors of the instances.
    pub fn show_logs(&self) {
        const LINES_MAX: usize = 15;
        const LINE_CHARACTERS_MAX: usize = 600;
        let short = |line: &str| line.chars().take(LINE_CHARACTERS_MAX).collect::<String>();
        for (index, instance) in self.instances.iter().enumerate() {
            let log = fs::read_to_string(instance.log()).unwrap_or_default();
            let is_grave = |line: &&str| !line.contains("\"INFO\"") && !line.contains("\"TRACE\"");
            let grave: Vec<_> = log.lines().filter(is_grave).map(short).collect();
            let from = grave.len().saturating_sub(LINES_MAX);
            eprintln!(
                "instance {} said last:\n{}",
                index + 1,
                grave[from..].join("\n")
            );
        }
    }

    /// Restarts the instances that have ended; gives the index of each and how it ended.
    pub fn revive(&mut self) -> Result<Vec<(usize, String)>> {
        let mut ended = Vec::new();
        for (index, instance) in self.instances.iter_mut().enumerate() {
            if let Some(ending) = instance.ending()? {
                instance.restart()?;
                ended.push((index, ending));
            }
        }
        Ok(ended)
    }

    /// An error when Caddy or a store has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        self.caddy.server.check_alive()?;
        self.postgres.check_alive()?;
        self.mongodb.as_mut().map_or(Ok(()), MongoDb::check_alive)?;
        self.redis.as_mut().map_or(Ok(()), Server::check_alive)
    }

    /// Lets all instances finish at the same time, then ends the rest.
    pub fn stop(mut self) -> Result<()> {
        self.stop_instances()
    }

    /// Lets all instances finish at the same time. Their stores go on, so that they can be examined.
    pub fn stop_instances(&mut self) -> Result<()> {
        for instance in &mut self.instances {
            instance.signal(Signal::TERM)?;
        }
        for instance in &mut self.instances {
            instance.wait_until_stopped()?;
        }
        Ok(())
    }
}

fn start_instance(
    program: &Path,
    folder: &TempDir,
    index: usize,
    port: u16,
    environment: &[(&'static str, String)],
) -> Result<Roost> {
    interrupt::check()?;
    let folder = folder.path().join(format!("roost-{}", index + 1));
    fs::create_dir_all(&folder)?;
    Roost::start_on(port, program, &folder, environment.to_vec())
        .with_context(|| format!("instance {index}"))
}

fn addresses(ports: &[u16]) -> Vec<String> {
    ports.iter().copied().map(roost::address_on).collect()
}
