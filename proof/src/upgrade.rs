//! `cargo xtask prove upgrade`: the release before and this one side by side on one cluster, under load. The instances
//! are replaced one by one, forward, back and forward again, as an operator does it: asked to stop, waited for, and
//! started as the other release on the same port with the same configuration.
//!
//! People write over three APIs and read by three more all along, as in `prove order`. Members, sessions and rooms
//! change through Caddy while instances are replaced. And at every mix of releases the stories are told at each
//! instance and held against the two others: what one release did, the other must know.

mod churn;
mod stories;

use super::{
    journal, node,
    people::{Evidence, People, Plan},
    reader::Reading,
    verdict,
};
use anyhow::{Context, Result, bail};
use churn::Churn;
use clap::{Args, ValueEnum};
use roost_testbed::{
    base::{self, Base},
    cluster::{Cluster, INSTANCES, Options},
    roost, tools, workspace,
};
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};
use stories::Stories;

/// What a mix of releases lasts at least; replacing an instance takes most of it.
const MIX: Duration = Duration::from_secs(20);
const COUNTER: &str = "roost_writes_total";
/// As the counter calls them.
const APIS: [&str; 3] = ["rest", "graphql", "socketio"];

#[derive(Args, Clone)]
pub struct Upgrade {
    /// How many writes in all, half of them in one room [default: 12000, and 6000 in MongoDB].
    #[arg(long)]
    pub writes: Option<u64>,
    /// Only with the journal there; without it in both places, one after the other.
    #[arg(long)]
    pub journal: Option<Journal>,
    /// The commit to run beside, instead of the one in `compat/base`.
    #[arg(long, value_name = "COMMIT")]
    pub base: Option<String>,
    /// Uses the unoptimised servers.
    #[arg(long)]
    pub debug: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Journal {
    Mongodb,
    Postgres,
}

impl Journal {
    const fn writes(self) -> u64 {
        match self {
            Self::Mongodb => 6_000,
            Self::Postgres => 12_000,
        }
    }

    /// Whether the figures of time are judged. The server with MongoDB's wire that stands in here has one core for
    /// everything; while an instance is replaced, the times are its own. `prove promises` judges them there, too.
    const fn keeps_deadlines(self) -> bool {
        matches!(self, Self::Postgres)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Old,
    New,
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Old => "old",
            Self::New => "new",
        })
    }
}

/// Which instances are replaced by which release, one after the other.
const ROLL: [(usize, Release); 3 * INSTANCES] = [
    (0, Release::New),
    (1, Release::New),
    (2, Release::New),
    (0, Release::Old),
    (1, Release::Old),
    (2, Release::Old),
    (0, Release::New),
    (1, Release::New),
    (2, Release::New),
];

pub(super) fn run(upgrade: &Upgrade) -> Result<()> {
    tools::npm_ci(&workspace::root().join("conformance"))?;
    let base = base::build(upgrade.base.as_deref(), upgrade.debug)?;
    let programs = Programs {
        new: roost::build(upgrade.debug)?,
        old: base,
    };
    let journals = match upgrade.journal {
        Some(journal) => vec![journal],
        None => Journal::value_variants().to_vec(),
    };
    for journal in journals {
        let writes = upgrade.writes.unwrap_or(journal.writes());
        println!(
            "== prove upgrade, journal on {journal:?}: {} (old) and this tree (new), {writes} writes, {} replacements ==",
            programs.old.name,
            ROLL.len()
        );
        pass(writes, journal, &programs)
            .with_context(|| format!("not proven with the journal on {journal:?}"))?;
    }
    println!("proven");
    Ok(())
}

fn pass(writes: u64, journal: Journal, programs: &Programs) -> Result<()> {
    let mut cluster = Cluster::start(Options {
        mongodb: journal == Journal::Mongodb,
        ..Options::new(&programs.old.program)
    })?;
    println!("{}", cluster.describe());
    let runtime = tokio::runtime::Runtime::new()?;
    let course = runtime
        .block_on(take_course(writes, programs, &mut cluster))
        .and_then(|course| cluster.stop_instances().map(|()| course))
        .inspect_err(|_| cluster.show_logs())?;
    let kept = journal::read(cluster.instance(0)?, &course.evidence.rooms)?;
    let mut faults = course.faults;
    faults.extend(
        verdict::judge(&course.evidence, &kept)
            .err()
            .map(|fault| format!("{fault:#}")),
    );
    faults.extend(duplicates(&course.evidence));
    for figure in course.stories.figures() {
        println!("{}", figure.line());
        if journal.keeps_deadlines() {
            faults.extend((!figure.is_kept()).then(|| figure.line()));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    cluster.show_logs();
    bail!("{}", faults.join("\n"))
}

struct Programs {
    old: Base,
    new: PathBuf,
}

/// What the run left behind.
struct Course {
    evidence: Evidence,
    stories: Stories,
    faults: Vec<String>,
}

/// The releases of the instances, in their order.
struct Mix([Release; INSTANCES]);

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.map(|release| release.to_string());
        formatter.write_str(&names.join(" "))
    }
}

async fn take_course(writes: u64, programs: &Programs, cluster: &mut Cluster) -> Result<Course> {
    let mixes = ROLL.len() + 1;
    let spread = MIX * u32::try_from(mixes)?;
    let plan = Plan {
        writes,
        sole_writes: 0,
        spread,
        script_pace: node::pace(writes, spread),
    };
    let mut stories = Stories::begin(cluster).await?;
    let groups = churn::register(cluster.url()).await?;
    let mut people = People::start(cluster.url(), plan).await?;
    let churn = Churn::begin(groups);
    let mut faults = Vec::new();
    let mut mix = Mix([Release::Old; INSTANCES]);
    for number in 0..mixes {
        if let Some((index, release)) = number.checked_sub(1).map(|step| ROLL[step]) {
            replace(index, release, programs, cluster)?;
            mix.0[index] = release;
        }
        let before = counts(cluster)?;
        faults.extend(stories.run(&mix, cluster).await);
        let share = writes * (number as u64 + 1) / mixes as u64;
        // The last writes are kept for the mixes that are to come.
        if people.acknowledged()? > share {
            people.ledger.hold();
        }
        people.pass(share.min(writes * 9 / 10)).await?;
        people.ledger.release();
        faults.extend(report(&mix, &before, &counts(cluster)?));
    }
    faults.extend(churn.end(cluster).await?);
    let evidence = people.finish().await?;
    Ok(Course {
        evidence,
        stories,
        faults,
    })
}

fn replace(
    index: usize,
    release: Release,
    programs: &Programs,
    cluster: &mut Cluster,
) -> Result<()> {
    let program = match release {
        Release::Old => &programs.old.program,
        Release::New => &programs.new,
    };
    let replaced = cluster.replace(index, program);
    replaced.with_context(|| {
        format!(
            "instance {} cannot be replaced by the {release} release",
            index + 1
        )
    })
}

/// Writes taken since it was started, by API, of each instance.
type Counts = Vec<BTreeMap<&'static str, u64>>;

fn counts(cluster: &Cluster) -> Result<Counts> {
    let count = |index| {
        let metrics = cluster.metrics(index)?;
        let of = |api: &'static str| (api, counter(&metrics, api));
        Ok(APIS.map(of).into_iter().collect())
    };
    (0..INSTANCES).map(count).collect()
}

/// From a line as `roost_writes_total{api="rest"} 17`.
fn counter(metrics: &str, api: &str) -> u64 {
    let name = format!("{COUNTER}{{api=\"{api}\"}} ");
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(&name));
    values
        .next()
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// Prints what each instance took in a mix; a fault for each API over which one took nothing.
fn report(mix: &Mix, before: &Counts, after: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    let mut shares = Vec::new();
    for (index, (before, after)) in before.iter().zip(after).enumerate() {
        let taken = APIS.map(|api| after[api].saturating_sub(before[api]));
        for (api, _) in APIS.iter().zip(taken).filter(|(_, count)| *count == 0) {
            faults.push(format!(
                "{mix}: instance {} took no write over {api}",
                index + 1
            ));
        }
        shares.push(taken.map(|count| count.to_string()).join("/"));
    }
    println!(
        "{mix}: writes over {} by instance: {}",
        APIS.join("/"),
        shares.join("  ")
    );
    faults
}

/// Nobody is given an event twice: each resumes where they were, whichever release they come back to.
fn duplicates(evidence: &Evidence) -> Vec<String> {
    let twice = |reading: &&Reading| reading.duplicates > 0;
    let fault = |reading: &Reading| {
        format!(
            "{} was given {} events twice",
            reading.reader, reading.duplicates
        )
    };
    evidence.readings.iter().filter(twice).map(fault).collect()
}
