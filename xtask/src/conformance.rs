//! `cargo xtask conformance`: one instance, driven by clients nobody here wrote.
//!
//! What they do is in `conformance/`, one script for each suite, their versions pinned there.

mod clients;
mod rest;
mod script;

use crate::{
    interrupt,
    roost::{self, Roost},
    tools, workspace,
};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Args, Default)]
pub struct Arguments {
    /// Only these; without any, all.
    suites: Vec<Suite>,
    /// Uses the optimised server.
    #[arg(long)]
    release: bool,
}

/// In this order: the metrics are looked at after all that traffic.
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
    /// `PyPI` schemathesis on every REST operation.
    Rest,
    /// promtool on `/metrics`.
    Metrics,
}

impl Suite {
    /// Gives what was run, in numbers.
    fn run(self, house: &mut House) -> Result<String> {
        match self {
            Self::Openapi => clients::openapi(),
            Self::Example => script::node(house, "example.mjs"),
            Self::Socketio => script::node(house, "socketio.mjs"),
            Self::PythonSocketio => script::python(house, "python_socketio.py"),
            Self::GraphqlWs => script::node(house, "graphql-ws.mjs"),
            Self::GraphqlHttp => script::node(house, "graphql-http.mjs"),
            Self::Rest => rest::run(house),
            Self::Metrics => clients::metrics(house),
        }
    }

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What the suites share.
struct House {
    roost: Roost,
    /// The programs of the Python packages.
    python: PathBuf,
    /// What suites may write into.
    folder: PathBuf,
}

/// Runs the suites, also after one failed, and prints what each ran and how long it took.
pub fn run(arguments: &Arguments) -> Result<()> {
    let all = Suite::value_variants().iter();
    let suites: Vec<_> = all
        .filter(|suite| arguments.suites.is_empty() || arguments.suites.contains(suite))
        .collect();
    tools::npm_ci(&scripts())?;
    let python = python()?;
    let program = roost::build(!arguments.release)?;
    let folder = tempfile::tempdir()?;
    let database = format!("sqlite:{}/roost.db?mode=rwc", folder.path().display());
    let mut house = House {
        roost: Roost::start(&program, folder.path(), &database, "")?,
        python,
        folder: folder.path().to_owned(),
    };
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for suite in suites {
        let name = suite.name();
        println!("\n== conformance: {name}");
        let start = Instant::now();
        let outcome = suite.run(&mut house);
        interrupt::check()?;
        let note = outcome.unwrap_or_else(|error| {
            failed.push(name.clone());
            format!("FAILED: {error:#}")
        });
        lines.push(line(&name, start.elapsed(), &note));
    }
    let stopped = house.roost.stop();
    println!("\n{}", lines.join("\n"));
    if !failed.is_empty() {
        show_log(&house.folder);
        bail!("failed: {}", failed.join(", "));
    }
    stopped
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

/// What the server said that was no news: its warnings and errors.
fn show_log(folder: &Path) {
    const LINES_MAX: usize = 30;
    let log = fs::read_to_string(folder.join("roost.log")).unwrap_or_default();
    let grave: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR") || line.contains("panicked"))
        .collect();
    let from = grave.len().saturating_sub(LINES_MAX);
    eprintln!("the server's last warnings:\n{}", grave[from..].join("\n"));
}
