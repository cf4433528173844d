//! What a cluster takes when nothing happens: few and many instances, each with thousands of active rooms.

use super::{ATTEMPTS, Figures, machine, prepare, read, table::Table, target::LIMITS};
use anyhow::{Context, Result, bail, ensure};
use roost_testbed::{
    cluster::{Cluster, Options, Redis},
    interrupt, process,
    servers::{Server, postgres},
};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(super) const NAME: &str = "growth, 3,000 idle rooms on each instance, PostgreSQL and Redis";
const COUNTS: [usize; 2] = [3, 12];
/// On each instance, each in 100 rooms of its own: 3,000 rooms.
const SOCKETS: &str = "30";
const ROOMS_EACH: &str = "100";
const ROOMS: f64 = 3_000.0;
const FIGURES: &[&str] = &[
    "transactions",
    "server CPU while idle",
    "database CPU while idle",
    "Redis CPU while idle",
];
/// So long are the rooms kept open while all is measured.
const KEPT_FOR: &str = "1800";
const OPENING_PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_secs(1);
/// What joining brought about is over after it.
const SETTLING: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(20);

/// Once: opening the rooms of twelve instances takes minutes. `failed` gets what could not be measured.
pub(super) fn measure(program: &Path, generator: &Path, failed: &mut Vec<String>) -> Table {
    let titles = COUNTS.map(|count| format!("{count} instances"));
    let mut table = Table::without_ratios(
        NAME,
        &format!("idle --sockets {SOCKETS} --alone-in {ROOMS_EACH}"),
        FIGURES,
        titles.into_iter(),
    );
    for (place, count) in COUNTS.into_iter().enumerate() {
        eprintln!("{count} instances");
        match measure_one(program, generator, count) {
            Ok(figures) => table.add(place, 0, figures),
            Err(error) => failed.push(format!("{NAME}, {count} instances: {error:#}")),
        }
    }
    table
}

fn measure_one(program: &Path, generator: &Path, count: usize) -> Result<Figures> {
    let mut options = Options::new(program);
    options.instances = count;
    options.spares = 0;
    options.mongodb = false;
    options.redis = Redis::Running;
    options.environment = LIMITS.map(|(key, value)| (key, value.to_owned())).into();
    // They have all processors: opening so many rooms takes minutes, and what idles competes for none.
    let mut cluster = Cluster::start(options)?;
    let folder = tempfile::tempdir()?;
    let sessions = folder.path().join("sessions.json");
    let mut held = Vec::new();
    for index in 0..count {
        held.push(open(generator, &cluster, index)?);
    }
    // What it takes to sign in is not measured.
    prepare(generator, &cluster.instances()[0].url(), &sessions, 2)?;
    thread::sleep(SETTLING);
    let report = folder.path().join("report.json");
    let mut measuring = measuring(generator, &mut cluster, &sessions, &report).spawn()?;
    let rate = transactions_a_second(cluster.postgres())?;
    let ended = process::wait(&mut measuring)?;
    ensure!(ended.success(), "usages: {}", process::describe(ended));
    let mut figures = read(&report)?;
    figures.insert("transactions".to_owned(), (rate, "/s".to_owned()));
    Ok(figures)
}

/// Opens the rooms of an instance. Beside eleven others one may be refused a connection: then all of them are opened
/// again.
fn open(generator: &Path, cluster: &Cluster, index: usize) -> Result<Held> {
    let mut attempt = 1;
    loop {
        let mut opening = Held::open(generator, &cluster.instances()[index].url())?;
        match wait_until_open(cluster, index, &mut opening) {
            Ok(()) => return Ok(opening),
            Err(error) if attempt < ATTEMPTS && !interrupt::requested() => {
                eprintln!("again: {error:#}");
            }
            Err(error) => return Err(error),
        }
        attempt += 1;
    }
}

/// A generator that keeps an instance's rooms open. Dropping it ends it.
struct Held(Child);

impl Held {
    fn open(generator: &Path, url: &str) -> Result<Self> {
        let mut command = machine::beside_servers(generator);
        command.args([
            "--quiet",
            "--unjudged",
            "--duration",
            KEPT_FOR,
            "--url",
            url,
        ]);
        command.args(["idle", "--sockets", SOCKETS, "--alone-in", ROOMS_EACH]);
        command.stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot start the generator")?))
    }

    fn check(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the generator ended with {}", process::describe(status)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_open(cluster: &Cluster, index: usize, opening: &mut Held) -> Result<()> {
    let deadline = Instant::now() + OPENING_PATIENCE;
    while active_rooms(&cluster.metrics(index)?)? < ROOMS {
        interrupt::check()?;
        opening.check()?;
        if Instant::now() > deadline {
            bail!("instance {} has not opened its rooms", index + 1);
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn active_rooms(metrics: &str) -> Result<f64> {
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("roost_rooms_active"));
    let value = values.find_map(|rest| rest.split_whitespace().next_back());
    Ok(value.context("no roost_rooms_active")?.parse()?)
}

/// What the database did by its own count. A connection tells of its work a second later at most.
fn transactions_a_second(database: &Server) -> Result<f64> {
    const COUNT: &str =
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'roost'";
    let count = || -> Result<f64> {
        let answer = process::output(postgres::psql(database)?.args(["-A", "-t", "-c", COUNT]))?;
        Ok(answer.trim().parse()?)
    };
    let (before, began) = (count()?, Instant::now());
    thread::sleep(WINDOW);
    let took = began.elapsed();
    Ok((count()? - before) / took.as_secs_f64())
}

/// Measures the processor time of all instances, of the database and of Redis, beside a socket that does nothing.
fn measuring(generator: &Path, cluster: &mut Cluster, sessions: &Path, report: &Path) -> Command {
    let mut command = machine::beside_servers(generator);
    command.args(["--quiet", "--unjudged", "--url"]);
    command.arg(cluster.instances()[0].url());
    command.arg("--json").arg(report);
    command.arg("--sessions").arg(sessions);
    for instance in cluster.instances() {
        command.args(["--pid", &instance.process_id().to_string()]);
    }
    let database = cluster.postgres().process_id();
    command.args(["--watch", &format!("database={database}")]);
    if let Some(redis) = cluster.redis() {
        command.args(["--watch", &format!("Redis={}", redis.process_id())]);
    }
    command.args(["idle", "--sockets", "1", "--alone-in", "1"]);
    command.stdout(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_rooms_are_read_from_the_metrics() {
        let metrics =
            "# TYPE roost_rooms_active gauge\nroost_rooms_active 2999\nroost_rooms_total 7\n";
        assert_eq!(active_rooms(metrics).unwrap().to_string(), "2999");
        assert!(active_rooms("").is_err());
    }
}
