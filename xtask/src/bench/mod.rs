//! `cargo xtask bench`: what Roost costs, beside what people would use instead, in one run on one machine.
//!
//! The server has one processor and the generator another. Targets take turns, A B A B, each run with a server that was just
//! started; of several runs the median is shown, and how far they were apart. Nothing is asserted: a machine decides the
//! figures, and their ratios are what is worth reading.

mod fill;
mod instances;
mod machine;
mod people;
mod scenario;
pub mod smoke;
mod table;
mod target;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use people::People;
use roost_testbed::{base, interrupt, process, roost, tools, workspace};
use scenario::Scenario;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use table::Table;
use target::{Programs, Running, Target};

const RUNS: usize = 3;
const ATTEMPTS: usize = 3;
const DOCUMENT: &str = "docs/benchmarks.md";
const GENERATOR: &str = "roost-loadtest";

#[derive(Args)]
pub struct Arguments {
    /// What is measured; without it, everything.
    #[arg(default_value = "all")]
    scenario: Choice,
    /// Beside what: any of caddy, node, socketioxide, bare, axum, separated by commas, or all.
    #[arg(long, value_delimiter = ',')]
    against: Vec<Against>,
    /// Beside Roost as it was at this commit.
    #[arg(long, value_name = "COMMIT")]
    before: Option<String>,
    /// Of those, only the tables that have this in their names.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How often each is measured.
    #[arg(long, default_value_t = RUNS)]
    runs: usize,
    /// Writes docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    All,
    /// Fan-out, idle sockets and REST, short: what each change should be held against.
    Quick,
    /// Each scenario in small, on an unoptimised server, without figures: part of `cargo xtask test`.
    Smoke,
    Fanout,
    Idle,
    Rest,
    Graphql,
    Storm,
    Churn,
    Board,
    Chat,
    Slow,
    /// An hour of chat on each database: how the server's memory grows. Not part of all.
    Soak,
    /// Two instances with Redis between them.
    Pair,
    /// Does a delivery cost more where there are more sockets or rooms, or an answer where the journal is long?
    Growth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    All,
    /// Roost behind Caddy, where what stands before it matters.
    Caddy,
    Node,
    Socketioxide,
    Bare,
    Axum,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.scenario == Choice::Smoke {
        return smoke::run();
    }
    ensure!(arguments.runs > 0, "at least one run");
    ensure!(
        !arguments.write || arguments.is_whole(),
        "the page has every table: --write goes with `all` and `--against all`, without --before and --only"
    );
    let began = Instant::now();
    let programs = build(arguments)?;
    let mut people = People::none()?;
    let mut tables = Vec::new();
    let mut failed = Vec::new();
    let scenarios = scenario::of(arguments.scenario).into_iter();
    for scenario in scenarios.filter(|scenario| arguments.wants(&scenario.name)) {
        let targets = targets(arguments, &scenario);
        let runs = if scenario.once { 1 } else { arguments.runs };
        println!("\n== {} ==", scenario.name);
        let this_began = Instant::now();
        let table = measure(
            &scenario,
            &targets,
            &programs,
            &mut people,
            runs,
            &mut failed,
        )
        .with_context(|| scenario.name.clone())?;
        println!("{table}in {:.0} s", this_began.elapsed().as_secs_f64());
        tables.push(table);
        // As it goes: what was measured in an hour is not lost with what fails at its end.
        write(arguments, &tables, &failed)?;
    }
    let has_instances = matches!(arguments.scenario, Choice::All | Choice::Growth);
    if has_instances && arguments.wants(instances::NAME) {
        println!("\n== {} ==", instances::NAME);
        let generator = programs.folder.join(GENERATOR);
        let table = instances::measure(&programs.roost, &generator, &mut failed);
        println!("{table}");
        tables.push(table);
    }
    println!("measured in {:.0} s", began.elapsed().as_secs_f64());
    write(arguments, &tables, &failed)?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    Ok(())
}

impl Arguments {
    fn wants(&self, table: &str) -> bool {
        let only = self.only.as_deref();
        only.is_none_or(|only| table.contains(only))
    }

    fn is_whole(&self) -> bool {
        self.scenario == Choice::All
            && self.against.contains(&Against::All)
            && self.before.is_none()
            && self.only.is_none()
    }
}

fn build(arguments: &Arguments) -> Result<Programs> {
    let before = arguments.before.as_deref();
    let before = before.map(|commit| base::build(Some(commit), false));
    let roost = roost::build(false)?;
    let mut build = process::tied("cargo", process::DeathSignal::Terminate, None);
    build.args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bin",
        GENERATOR,
    ]);
    for peer in target::RUST_PEERS {
        build.args(["--bin", peer]);
    }
    build.current_dir(workspace::root());
    process::run(&mut build)?;
    if !arguments.against.is_empty() {
        tools::npm_ci(&target::node_folder())?;
    }
    Ok(Programs {
        roost,
        before: before.transpose()?,
        folder: workspace::target_folder().join("release"),
    })
}

/// Those that can do what the scenario asks, this tree first.
fn targets(arguments: &Arguments, scenario: &Scenario) -> Vec<Target> {
    let mut targets = scenario
        .setups
        .iter()
        .map(|setup| Target::Roost(*setup))
        .collect::<Vec<_>>();
    if arguments.before.is_some() {
        targets.extend(scenario.setups.iter().map(|setup| Target::Before(*setup)));
    }
    let is_wanted = |peer: Against| {
        let wanted = &arguments.against;
        wanted.contains(&peer) || wanted.contains(&Against::All)
    };
    let peers = scenario
        .peers
        .iter()
        .filter(|(against, _)| is_wanted(*against));
    targets.extend(peers.map(|(_, target)| *target));
    targets
}

/// A target that fails is left out of its run, and named in `failed`.
fn measure(
    scenario: &Scenario,
    targets: &[Target],
    programs: &Programs,
    people: &mut People,
    runs: usize,
    failed: &mut Vec<String>,
) -> Result<Table> {
    let folder = tempfile::tempdir()?;
    let mut running = Vec::new();
    for target in targets {
        let mut started = Running::start(*target, programs, people, folder.path())?;
        if started.keeps_people() {
            let generator = programs.folder.join(GENERATOR);
            let (url, sessions) = (&started.urls()[0], started.sessions());
            prepare(&generator, url, &sessions, scenario.people)?;
        }
        started.stop()?;
        people.keep(&started, scenario.people)?;
        if let Some(server) = started.postgres.as_ref().filter(|_| scenario.entries > 0) {
            fill::fill(server, scenario.entries)?;
        }
        running.push(started);
    }
    let mut table = Table::new(scenario, targets, programs);
    machine::pin_servers()?;
    for run in 0..runs {
        let mut places: Vec<usize> = (0..running.len()).collect();
        // Every second time the other way round, so that a machine that becomes slower favours no target.
        if run % 2 == 1 {
            places.reverse();
        }
        for place in places {
            interrupt::check()?;
            let target = &mut running[place];
            let name = target.target.to_string();
            eprintln!("run {} of {runs}: {name}", run + 1);
            match measure_until_valid(scenario, target, programs) {
                Ok(figures) => table.add(place, run, figures),
                Err(error) => failed.push(format!("{}, {name}: {error:#}", scenario.name)),
            }
        }
    }
    machine::unpin()?;
    Ok(table)
}

/// Registers people while the server has all processors.
fn prepare(generator: &Path, url: &str, sessions: &Path, people: usize) -> Result<()> {
    let mut generator = Command::new(generator);
    generator.args(["--url", url, "--sessions"]).arg(sessions);
    generator.args(["prepare", "--people", &people.to_string()]);
    process::output(&mut generator).map(drop)
}

/// A machine that others use, too, can hold up the generator, which then refuses to report.
fn measure_until_valid(
    scenario: &Scenario,
    target: &mut Running,
    programs: &Programs,
) -> Result<Figures> {
    let mut attempt = 1;
    loop {
        let measured = measure_once(scenario, target, programs);
        target.stop()?;
        match measured {
            Err(error) if attempt < ATTEMPTS => eprintln!("again: {error:#}"),
            measured => return measured,
        }
        attempt += 1;
    }
}

type Figures = BTreeMap<String, (f64, String)>;

fn measure_once(scenario: &Scenario, target: &mut Running, programs: &Programs) -> Result<Figures> {
    target.restart()?;
    let report = target.folder.join("report.json");
    let mut generator = machine::beside_servers(&programs.folder.join(GENERATOR));
    generator.args(["--quiet", "--json"]).arg(&report);
    for url in target.urls() {
        generator.args(["--url", &url]);
    }
    for id in target.process_ids() {
        generator.args(["--pid", &id.to_string()]);
    }
    for (name, id) in target.watched() {
        generator.args(["--watch", &format!("{name}={id}")]);
    }
    if target.keeps_people() {
        generator.arg("--sessions").arg(target.sessions());
    } else {
        generator.arg("--anonymous");
    }
    generator.args(&scenario.options);
    if !target.has_passwords() && scenario.arguments[0] == "rest" {
        generator
            .args(&scenario.arguments)
            .args(["--sign-ins", "0"]);
    } else {
        generator.args(&scenario.arguments);
    }
    process::output(&mut generator)?;
    read(&report)
}

fn read(report: &Path) -> Result<Figures> {
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report)?)?;
    let figures = report["figures"]
        .as_array()
        .context("a report without figures")?;
    let figure = |figure: &serde_json::Value| {
        let text = |name: &str| figure[name].as_str().map(str::to_owned);
        Some((text("name")?, (figure["value"].as_f64()?, text("unit")?)))
    };
    let read: Option<Figures> = figures.iter().map(figure).collect();
    match read {
        Some(read) => Ok(read),
        None => bail!("a report that cannot be read: {report}"),
    }
}

/// The page of all tables.
/// Writes the page of these tables, if that was asked for.
fn write(arguments: &Arguments, tables: &[Table], failed: &[String]) -> Result<()> {
    if arguments.write {
        let document = document(tables, failed)?;
        fs::write(workspace::root().join(DOCUMENT), document)?;
    }
    Ok(())
}

fn document(tables: &[Table], failed: &[String]) -> Result<String> {
    let machine = machine::describe()?;
    let mut text = format!(
        "# Benchmarks\n\n<!-- Written by `cargo xtask bench --against all --write`. -->\n\n\
         What they are and how they are measured is in [loadtest/README.md](../loadtest/README.md). A server and its database have \
         one processor, the generator the other. In brackets: how many times what Roost on the same store has, and how far \
         the runs were apart. Roost gathers pointers for 40 ms and sends them to everybody in the room, who moved them included; the \
         others send each at once, and not to its sender. Roost pings a socket each 12 s, the others each 25 s.\n\n{machine}\n"
    );
    for table in tables {
        text.push_str(&table.markdown());
    }
    if !failed.is_empty() {
        text.push_str("\nNot measured: ");
        text.push_str(&failed.join("; "));
        text.push_str(".\n");
    }
    Ok(text)
}

/// Where a target keeps what it needs.
fn folder_of(folder: &Path, target: Target) -> Result<PathBuf> {
    let folder = folder.join(target.to_string().replace([' ', ','], "-"));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
