//! The machine that figures come from, and who has which of its processors.

use anyhow::{Context, Result};
use roost_testbed::process;
use std::{fmt::Write, fs, process::Command, thread::available_parallelism};

const SERVER_CPU: &str = "0";
pub(super) const GENERATOR_CPU: &str = "1";

/// Gives a server its processor, with all threads that it has.
pub(super) fn pin(process_id: u32) -> Result<()> {
    let mut pin = Command::new("taskset");
    pin.args(["--all-tasks", "--cpu-list", "--pid", SERVER_CPU]);
    process::output(pin.arg(process_id.to_string())).map(drop)
}

/// For the page of figures, as Markdown.
pub(super) fn describe() -> Result<String> {
    let mut text = String::new();
    let commit = process::output(&mut process::git(&["describe", "--always", "--dirty"]))?;
    let versions = [
        ("commit", commit),
        ("processors", processors()?),
        ("memory", memory()?),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease")?),
        ("compiler", version("rustc", "--version")?),
        ("Node", version("node", "--version")?),
    ];
    for (name, value) in versions {
        writeln!(text, "* {name}: {}", value.trim())?;
    }
    Ok(text)
}

fn version(program: &str, argument: &str) -> Result<String> {
    process::output(Command::new(program).arg(argument))
}

fn processors() -> Result<String> {
    let information = fs::read_to_string("/proc/cpuinfo")?;
    let mut names = information
        .lines()
        .filter(|line| line.starts_with("model name"));
    let name = names.next().and_then(|line| line.split(": ").nth(1));
    let count = available_parallelism()?;
    Ok(format!("{count} of {}", name.unwrap_or("an unnamed kind")))
}

fn memory() -> Result<String> {
    const KIB_IN_GIB: u64 = 1 << 20;
    let information = fs::read_to_string("/proc/meminfo")?;
    let total = information
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|line| line.split_whitespace().next());
    let total: u64 = total.context("no MemTotal")?.parse()?;
    Ok(format!("{} GiB", total / KIB_IN_GIB))
}
