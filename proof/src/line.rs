//! `cargo xtask prove line`: like `prove order`, on three instances behind Caddy that share PostgreSQL, a MongoDB wire
//! and Redis. The faults: kill -9 of the instances in turn, a Redis that loses everything, a fourth instance that joins
//! under load, and a second pass without Redis.
//!
//! Correct results are not enough here, because the sweep delivers what a dead backplane misses, a second later. So the
//! instances log the source of each delivery, and most deliveries must come over the backplane.

mod crowd;
mod deliveries;
mod shares;
mod writes;

use super::{
    journal, node,
    people::{Evidence, People, Plan},
    verdict,
};
use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use crowd::Crowd;
use roost_testbed::{
    cluster::{Cluster, INSTANCES, Options, Redis},
    interrupt,
    roost::{self, Roost},
    tools, workspace,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::sleep;
use writes::Tally;

/// How many writes go to rooms with a sole writer, in percent of the writes by many people: enough that many deliveries
/// over the backplane lie outside the fault windows.
const SOLE_PERCENT: u64 = 80;
/// For this long after a fault, deliveries may come from the sweep instead of the backplane.
const FAULT_WINDOW: Duration = Duration::from_secs(3);
/// How much longer a run takes than twice the windows of its faults.
const SPREAD_REST: Duration = Duration::from_secs(6);
/// The faults happen at even shares of this part of the writes; the rest follows after the fourth instance has joined.
const FAULTS_PERCENT: u64 = 60;
/// The least number of judged deliveries, for the number of writes below.
const JUDGED_MIN: u64 = 10_000;
const JUDGED_MIN_WRITES: u64 = 10_000;
/// How long an instance that joined may take to commit its first write, and how often its log is checked.
const WRITE_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Logs each delivery as a line.
const LOG_LEVEL: &str = "info,roost::deliveries=trace";

#[derive(Args, Clone, Copy)]
pub struct Line {
    /// How many writes by many people, half of them in one room; eight for each ten of them follow in rooms with one
    /// writer.
    #[arg(long, default_value_t = 10_000)]
    pub writes: u64,
    /// How often an instance is killed meanwhile, one after the other.
    #[arg(long, default_value_t = 3)]
    pub kills: u64,
    /// Uses the unoptimised server.
    #[arg(long)]
    pub debug: bool,
    /// Judges the pass without Redis as if there were one: must fail.
    #[arg(long, hide = true)]
    pub sabotage: bool,
}

impl Line {
    /// How many deliveries must be judged in this run.
    fn judged_min(self) -> u64 {
        JUDGED_MIN * self.writes / JUDGED_MIN_WRITES
    }
}

pub(super) fn run(line: Line) -> Result<()> {
    tools::npm_ci(&workspace::root().join("conformance"))?;
    let program = roost::build(line.debug)?;
    if line.sabotage {
        return pass(line, Redis::Off, true, &program).context("not proven without Redis");
    }
    pass(line, Redis::Running, true, &program).context("not proven with Redis")?;
    pass(line, Redis::Off, false, &program).context("not proven without Redis")?;
    println!("proven");
    Ok(())
}

/// What a pass recorded besides the evidence.
struct Course {
    evidence: Evidence,
    began: DateTime<Utc>,
    ended: DateTime<Utc>,
    /// The times at which the proof injected faults.
    faults: Vec<DateTime<Utc>>,
    tally: Tally,
}

fn pass(line: Line, redis: Redis, is_backplane_judged: bool, program: &Path) -> Result<()> {
    println!(
        "== prove line, Redis {redis:?}: {} writes, {} of them in rooms with one writer, {} kills ==",
        plan(line).total(),
        plan(line).sole_writes,
        line.kills
    );
    let mut cluster = Cluster::start(Options {
        redis,
        environment: vec![("ROOST_LOG_LEVEL", LOG_LEVEL.to_owned())],
        ..Options::new(program)
    })?;
    println!("{}", cluster.describe());
    let runtime = tokio::runtime::Runtime::new()?;
    let course = runtime
        .block_on(take_course(line, redis, &mut cluster))
        .and_then(|course| are_understood(&cluster).map(|()| course))
        .and_then(|course| cluster.stop_instances().map(|()| course))
        .inspect_err(|_| cluster.show_logs())?;
    let kept = journal::read(cluster.instance(0)?, &course.evidence.rooms)?;
    let mut faults = Vec::new();
    faults.extend(verdict::judge(&course.evidence, &kept).err());

    let logs: Vec<PathBuf> = cluster.instances().iter().map(Roost::log).collect();
    let delivered = deliveries::read(&logs)?;
    let seen = shares::Seen {
        delivered: &delivered,
        began: course.began,
        ended: course.ended,
        faults: &course.faults,
    };
    faults.extend(writes::judge(&seen, &course.tally, redis == Redis::Running).err());
    seen.print_ways();
    let judged = seen.judge_backplane(line.judged_min());
    if line.writes < JUDGED_MIN_WRITES {
        println!(
            "at least {} deliveries are judged instead of {JUDGED_MIN}, in proportion to the writes",
            line.judged_min()
        );
    }
    if is_backplane_judged {
        faults.extend(judged.err());
    }
    if faults.is_empty() {
        return Ok(());
    }
    let faults: Vec<_> = faults.iter().map(|fault| format!("{fault:#}")).collect();
    bail!("{}", faults.join("\n"))
}

fn plan(line: Line) -> Plan {
    let windows = u32::try_from(line.kills + 1).unwrap_or(u32::MAX);
    Plan {
        writes: line.writes,
        sole_writes: line.writes * SOLE_PERCENT / 100,
        spread: FAULT_WINDOW * 2 * windows + SPREAD_REST,
        script_pace: node::PACE,
    }
}

async fn take_course(line: Line, redis: Redis, cluster: &mut Cluster) -> Result<Course> {
    let plan = plan(line);
    let mut people = People::start(cluster.url(), plan).await?;
    let mut tally = Tally::start(cluster);
    let began = Utc::now();
    let mut faults = Vec::new();
    let restarts = u64::from(redis == Redis::Running);
    let of = line.kills + restarts;
    let mut killed = (0..INSTANCES).cycle();
    for number in 1..=of {
        let share = plan.total() * FAULTS_PERCENT * number / of / 100;
        // Redis restarts in the middle of the kills.
        let what = if restarts == 1 && number == of.div_ceil(2) {
            people.pass(share).await?;
            faults.push(restart_redis(cluster)?);
            "Redis restarted, empty".to_owned()
        } else {
            let killed = killed.next().unwrap_or_default();
            let unanswered = people.reach(share).await?;
            tally.look().await;
            faults.push(kill(killed, cluster)?);
            format!(
                "kill -9 of instance {} with {unanswered} unanswered",
                killed + 1
            )
        };
        println!("{what}, after {share} writes");
    }
    if redis == Redis::Running {
        join_fourth(&mut people, cluster, &mut tally).await?;
    }
    people.write_all().await?;
    let ended = Utc::now();
    tally.look().await;
    let evidence = people.finish().await?;
    Ok(Course {
        evidence,
        began,
        ended,
        faults,
        tally,
    })
}

fn kill(index: usize, cluster: &mut Cluster) -> Result<DateTime<Utc>> {
    let at = Utc::now();
    cluster.kill_nine(index)?;
    cluster.restart(index)?;
    Ok(at)
}

fn restart_redis(cluster: &mut Cluster) -> Result<DateTime<Utc>> {
    let at = Utc::now();
    let redis = cluster.redis().context("there is no Redis")?;
    redis.kill_nine()?;
    redis.restart()?;
    Ok(at)
}

/// Starts a fourth instance. No connected person may notice.
async fn join_fourth(people: &mut People, cluster: &mut Cluster, tally: &mut Tally) -> Result<()> {
    people.ledger.hold();
    let crowd = Crowd::connect(&people.clients, &people.rooms).await?;
    let index = cluster.add_instance()?;
    tally.watch(&cluster.instances()[index]);
    println!(
        "instance {} joined with {} connections open",
        index + 1,
        crowd.len()
    );
    wait_for_write(&cluster.instances()[index]).await?;
    people.ledger.release();
    people.write_all().await?;
    let dropped = crowd.dropped();
    println!(
        "connections dropped when an instance joined: {}",
        dropped.len()
    );
    if !dropped.is_empty() {
        bail!("connections were dropped when an instance joined: {dropped:#?}");
    }
    Ok(())
}

/// Waits until an instance has committed an entry.
async fn wait_for_write(instance: &Roost) -> Result<()> {
    let deadline = Instant::now() + WRITE_MAX;
    while !deliveries::has_committed(&instance.log())? {
        if Instant::now() > deadline {
            bail!("the instance that joined took no write");
        }
        interrupt::check()?;
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Checks that the instances understand all announcements of each other, because they are of one release.
fn are_understood(cluster: &Cluster) -> Result<()> {
    const UNKNOWN: &str = "roost_backplane_unknown_total ";
    for index in 0..cluster.instances().len() {
        let metrics = cluster.metrics(index)?;
        let mut unknown = metrics.lines().filter_map(|it| it.strip_prefix(UNKNOWN));
        if let Some(count) = unknown.find(|count| *count != "0") {
            bail!(
                "instance {} was told {count} messages that it does not know",
                index + 1
            );
        }
    }
    Ok(())
}
