//! `cargo xtask ci`: everything that must hold before a change is taken, each stage timed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use roost_testbed::process::{self, DeathSignal, tied};
use roost_testbed::{interrupt, tools, workspace};

use crate::{assets, compat, conformance, containers, repository, schema, test};

const CARGO_DENY_VERSION: &str = "0.20.2";
const CARGO_MACHETE_VERSION: &str = "0.9.2";

type Stage = (&'static str, fn() -> Result<()>);

/// In this order: quick stages that often fail come first.
const STAGES: [Stage; 11] = [
    ("formatting", formatting),
    ("lock files", repository::check_lock_files),
    ("golden files", compat::check),
    ("page assets", assets::run),
    ("clippy", clippy),
    ("licences, bans and sources", cargo_deny),
    ("unused dependencies", cargo_machete),
    ("generated files", generated_files),
    ("containers", containers::run),
    ("tests and snapshots", tests_and_snapshots),
    ("conformance", conformance),
];

/// Runs every stage, also after one failed, and prints how long each took.
pub fn run() -> Result<()> {
    let mut results = Vec::new();
    for (name, stage) in STAGES {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = stage();
        interrupt::check()?;
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}");
        }
        results.push((name, start.elapsed(), outcome.is_ok()));
    }
    println!("\n{}", table(&results));
    let failed: Vec<_> = results
        .iter()
        .filter(|(_, _, passed)| !passed)
        .map(|(name, ..)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn formatting() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy() -> Result<()> {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ])
}

fn cargo_deny() -> Result<()> {
    let program = tools::cargo_program("cargo-deny", CARGO_DENY_VERSION)?;
    let mut check = tied(program, DeathSignal::Terminate, None);
    check.args(["--locked", "check", "bans", "licenses", "sources"]);
    process::run(check.current_dir(workspace::root()))
}

fn cargo_machete() -> Result<()> {
    let program = tools::cargo_program("cargo-machete", CARGO_MACHETE_VERSION)?;
    let mut check = tied(program, DeathSignal::Terminate, None);
    process::run(check.current_dir(workspace::root()))
}

fn generated_files() -> Result<()> {
    schema::run(true)
}

/// The tests note which snapshots they read: a snapshot that no test reads proves nothing.
fn tests_and_snapshots() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let references = folder.path().join("snapshots.txt");
    let references_variable = ("INSTA_SNAPSHOT_REFERENCES_FILE", references.as_os_str());
    test::run_with(&[], &[references_variable, ("INSTA_UPDATE", "no".as_ref())])?;
    repository::check_snapshots(&references)
}

/// Runs the conformance suites with the server that the tests built.
fn conformance() -> Result<()> {
    conformance::run(&conformance::Arguments::default())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let mut command = tied("cargo", DeathSignal::Terminate, None);
    process::run(command.args(arguments).current_dir(workspace::root()))
}

fn table(results: &[(&str, Duration, bool)]) -> String {
    let line = |name: &str, time: Duration, note: &str| {
        format!("{name:<28}{:>8.1} s  {note}", time.as_secs_f64())
    };
    let total = results.iter().map(|(_, time, _)| *time).sum();
    let lines = results
        .iter()
        .map(|(name, time, passed)| line(name, *time, if *passed { "passed" } else { "FAILED" }));
    let lines: Vec<_> = lines.chain([line("together", total, "")]).collect();
    lines.join("\n")
}
