//! `cargo xtask containers`: checks the image and the cluster of docker-compose.yml as far as one can without an
//! engine.
//!
//! Each check takes the folder that the files are in, so that tests can plant mistakes in a copy.

mod compose;
mod instances;
mod validators;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, bail};
use roost_testbed::{interrupt, tools, workspace};

/// A check; gives what it looked at, in numbers.
type Check = fn(&Path) -> Result<String>;

/// In this order: what is quick comes first.
const CHECKS: [(&str, Check); 7] = [
    ("hadolint", validators::hadolint),
    ("compose-schema", validators::compose_schema),
    ("secrets", compose::check_secrets),
    ("prometheus", validators::prometheus),
    ("caddy", validators::caddy),
    ("environment", instances::check_environment),
    ("health", instances::check_health),
];

/// Runs every check, also after one failed, and prints what each saw and how long it took.
pub fn run() -> Result<()> {
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let start = Instant::now();
        let outcome = check(&workspace::root());
        interrupt::check()?;
        let note = outcome.unwrap_or_else(|error| {
            failed.push(name);
            format!("FAILED: {error:#}")
        });
        let seconds = start.elapsed().as_secs_f64();
        lines.push(format!("{name:<16}{seconds:>7.1} s  {note}"));
    }
    println!("\n{}", lines.join("\n"));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs one check, by its name, on the files in `root`.
pub fn check(name: &str, root: &Path) -> Result<String> {
    match CHECKS.iter().find(|(known, _)| *known == name) {
        Some((_, check)) => check(root),
        None => bail!("there is no check {name}"),
    }
}

/// The folder with the pinned versions of the checkers, and the program that reads as compose does.
fn folder() -> PathBuf {
    workspace::root().join("xtask/containers")
}

/// The programs of the Python packages.
fn python() -> Result<PathBuf> {
    tools::python_requirements("containers", &folder().join("requirements.txt"))
}
