//! `cargo xtask conformance`: a cluster behind Caddy, driven by clients of other projects.
//!
//! The scripts are in `conformance/`, one for each suite, with the versions of the clients pinned there. Clients
//! connect by address and by host name, with and without cookies, and each suite must reach several instances.

mod clients;
mod reach;
mod rest;
mod script;
mod system;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use reach::{Evidence, Reach};
use roost_testbed::{interrupt, roost, tools, workspace};
use std::{
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};
use system::{System, Way};

#[derive(Args, Default)]
pub struct Arguments {
    /// Only these; without any, all.
    suites: Vec<Suite>,
    /// One instance on `SQLite`, with nothing before it.
    #[arg(long)]
    alone: bool,
    /// Uses the optimised server.
    #[arg(long)]
    release: bool,
}

/// In this order: the metrics are looked at after the traffic of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Redocly on the `OpenAPI` document.
    Openapi,
    /// The example of `docs/protocol.md`, as it stands there.
    Example,
    /// npm socket.io-client: default options, WebSocket only, polling only.
    Socketio,
    /// `PyPI` python-socketio.
    PythonSocketio,
    /// npm graphql-ws, and the close codes of its protocol.
    GraphqlWs,
    /// The audits of npm graphql-http.
    GraphqlHttp,
    /// The load scenarios of `loadtest/k6`: held against k6's types, and executed in Node.
    K6,
    /// `PyPI` schemathesis on every REST operation.
    Rest,
    /// promtool on `/metrics`.
    Metrics,
}

impl Suite {
    /// Runs the suite; gives what was run, in numbers.
    fn run(self, fixture: &mut Fixture, reach: &mut Reach) -> Result<String> {
        let ways = self.ways(fixture.system.ways());
        match self {
            Self::Openapi => clients::openapi(),
            Self::Example => script::node(fixture, reach, "example.mjs", &ways),
            Self::Socketio => script::node(fixture, reach, "socketio.mjs", &ways),
            Self::PythonSocketio => script::python(fixture, reach, "python_socketio.py", &ways),
            Self::GraphqlWs => script::node(fixture, reach, "graphql-ws.mjs", &ways),
            Self::GraphqlHttp => script::node(fixture, reach, "graphql-http.mjs", &ways),
            Self::K6 => {
                clients::k6_types()?;
                script::node(fixture, reach, "k6.mjs", &ways)
            }
            Self::Rest => rest::run(fixture, &ways),
            Self::Metrics => clients::metrics(fixture),
        }
    }

    /// The ways on which the suite sees different things. Only Socket.IO is given cookies, and each run of schemathesis
    /// takes as long as all other suites.
    fn ways(self, all: Vec<Way>) -> Vec<Way> {
        let mut without_cookies = all.iter().filter(|way| !way.cookies).copied();
        match self {
            Self::Socketio | Self::PythonSocketio => all,
            Self::Rest => without_cookies.next_back().into_iter().collect(),
            _ => without_cookies.collect(),
        }
    }

    fn evidence(self) -> Evidence {
        match self {
            Self::Openapi | Self::Metrics => Evidence::Unneeded,
            Self::Socketio | Self::PythonSocketio => Evidence::SocketIo,
            _ => Evidence::AnyRequest,
        }
    }

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The system, programs and folder that the suites of a group share.
struct Fixture {
    system: System,
    /// The programs of the Python packages.
    python: PathBuf,
    /// A folder that suites may write into.
    folder: PathBuf,
}

/// What the suites of a group came to.
#[derive(Default)]
struct Outcome {
    /// What each ran, which instances it reached and how long it took.
    lines: Vec<String>,
    /// The names of those that failed.
    failed: Vec<String>,
}

/// Runs all suites, also after one failed. Prints what each ran, which instances it reached and how long it took.
pub fn run(arguments: &Arguments) -> Result<()> {
    let all = Suite::value_variants().iter().copied();
    let suites =
        all.filter(|suite| arguments.suites.is_empty() || arguments.suites.contains(suite));
    // schemathesis computes while the others mostly wait for instances to restart. So they run side by side, each group
    // with a system of its own.
    let (rest, others): (Vec<_>, Vec<_>) = suites.partition(|suite| *suite == Suite::Rest);
    let groups = [others, rest].into_iter().filter(|group| !group.is_empty());
    tools::npm_ci(&scripts())?;
    let python = python()?;
    let program = roost::build(!arguments.release)?;
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let (program, python) = (&program, &python);
        let run =
            |group: Vec<Suite>| scope.spawn(move || run_group(&group, arguments, program, python));
        let running: Vec<_> = groups.map(run).collect();
        let outcomes = running.into_iter().map(ScopedJoinHandle::join);
        outcomes
            .map(|outcome| outcome.unwrap_or_else(|_| bail!("a group of suites panicked")))
            .collect()
    });
    interrupt::check()?;
    let mut all = Outcome::default();
    for outcome in outcomes {
        match outcome {
            Ok(outcome) => {
                all.lines.extend(outcome.lines);
                all.failed.extend(outcome.failed);
            }
            Err(error) => all.failed.push(format!("{error:#}")),
        }
    }
    println!("\n{}", all.lines.join("\n"));
    if !all.failed.is_empty() {
        bail!("failed: {}", all.failed.join(", "));
    }
    Ok(())
}

/// Runs suites one after the other on one system.
fn run_group(
    suites: &[Suite],
    arguments: &Arguments,
    program: &Path,
    python: &Path,
) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let system = if arguments.alone {
        System::alone(program, folder.path())
    } else {
        System::cluster(program)
    };
    let mut fixture = Fixture {
        system: system?,
        python: python.to_owned(),
        folder: folder.path().to_owned(),
    };
    println!("{}", fixture.system.describe());
    let mut outcome = Outcome::default();
    for suite in suites {
        let name = suite.name();
        println!("\n== conformance: {name}");
        let start = Instant::now();
        let examined = examine(*suite, &mut fixture);
        interrupt::check()?;
        let note = examined.unwrap_or_else(|error| {
            outcome.failed.push(name.clone());
            format!("FAILED: {error:#}")
        });
        outcome.lines.push(line(&name, start.elapsed(), &note));
    }
    if !outcome.failed.is_empty() {
        fixture.system.show_logs();
    }
    if let Err(error) = fixture.system.stop() {
        outcome.failed.push(format!("{error:#}"));
    }
    Ok(outcome)
}

/// Runs one suite; gives what was run and which instances it reached. The latter also when the suite failed.
fn examine(suite: Suite, fixture: &mut Fixture) -> Result<String> {
    let mut reach = Reach::begin(&fixture.system, suite.evidence())?;
    let passed = suite.run(fixture, &mut reach);
    let reached = reach.judge(&fixture.system);
    match (passed, reached) {
        (Ok(passed), Ok(None)) => Ok(passed),
        (Ok(passed), Ok(Some(shares))) => Ok(format!("{passed}; {shares}")),
        (Err(error), Ok(Some(shares))) => Err(error.context(shares)),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Where the scripts and the pinned versions are.
fn scripts() -> PathBuf {
    workspace::root().join("conformance")
}

fn python() -> Result<PathBuf> {
    tools::python_requirements("conformance", &scripts().join("requirements.txt"))
}

fn line(name: &str, time: Duration, note: &str) -> String {
    format!("{name:<16}{:>7.1} s  {note}", time.as_secs_f64())
}
