//! `cargo xtask containers`: the image and the cluster of docker-compose.yml, checked as far as one can without an engine.
//!
//! Each check takes the folder that the files are in, so that tests can plant mistakes in a copy.

mod compose;
mod dockerfile;
mod ignore;
mod instances;
mod rehearsal;
mod rules;
mod validators;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, bail};

use crate::{interrupt, tools, workspace};

/// Gives what was looked at, in numbers.
type Check = fn(&Path) -> Result<String>;

/// In this order: what is quick comes first.
const CHECKS: [(&str, Check); 10] = [
    ("dockerfile", dockerfile::check),
    ("hadolint", validators::hadolint),
    ("compose-schema", validators::compose_schema),
    ("secrets", compose::check_secrets),
    ("compose-rules", rules::check),
    ("prometheus", validators::prometheus),
    ("caddy", validators::caddy),
    ("environment", instances::check_environment),
    ("health", instances::check_health),
    ("stages", rehearsal::check),
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

/// Where the pinned versions of other people's checkers are, and the program that reads as compose does.
fn folder() -> PathBuf {
    workspace::root().join("xtask/containers")
}

/// The programs of the Python packages.
fn python() -> Result<PathBuf> {
    tools::python_requirements("containers", &folder().join("requirements.txt"))
}

/// One problem a line, or none.
fn none_of(problems: &[String]) -> Result<()> {
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// Whether an image is named without a registry's host, at a tag that is a version.
fn is_pinned(image: &str) -> bool {
    let Some((name, tag)) = image.rsplit_once(':') else {
        return false;
    };
    let first = name.split_once('/').map(|(first, _)| first);
    let names_host = first.is_some_and(|first| first.contains(['.', ':']) || first == "localhost");
    let version = tag.strip_prefix('v').unwrap_or(tag);
    !names_host && !tag.contains('/') && version.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_by_a_version() {
        for pinned in [
            "caddy:2.11",
            "prom/prometheus:v3.13.3",
            "postgres:17-bookworm",
        ] {
            assert!(is_pinned(pinned), "{pinned}");
        }
        for loose in [
            "caddy",
            "caddy:latest",
            "caddy:alpine",
            "registry.example/caddy:2.11",
            "registry.example:5000/caddy",
        ] {
            assert!(!is_pinned(loose), "{loose}");
        }
    }
}
