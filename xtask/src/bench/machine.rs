//! The machine that figures come from, and who has which of its processors.

use anyhow::{Context, Result};
use roost_testbed::process::{self, DeathSignal};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::{fmt::Write, fs, path::Path, process::Command, thread::available_parallelism};

const SERVER_CPU: usize = 0;
const GENERATOR_CPU: &str = "1";

/// Gives this thread the servers' processor; what it starts from now on inherits it.
pub(super) fn pin_servers() -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(SERVER_CPU);
    sched_setaffinity(None, &processors).context("this process cannot choose its processor")
}

/// Gives this thread all processors again.
pub(super) fn unpin() -> Result<()> {
    let mut processors = CpuSet::new();
    for processor in 0..CpuSet::MAX_CPU {
        processors.set(processor);
    }
    sched_setaffinity(None, &processors).context("this process cannot choose its processors")
}

/// A command that has the generator's processor.
pub(super) fn beside_servers(program: &Path) -> Command {
    let mut command = process::tied("taskset", DeathSignal::Kill, None);
    command.args(["-c", GENERATOR_CPU]).arg(program);
    command
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
        ("packages of the Node peer", packages()?),
    ];
    for (name, value) in versions {
        writeln!(text, "* {name}: {}", value.trim())?;
    }
    Ok(text)
}

/// With their versions, from the peer's own list.
fn packages() -> Result<String> {
    let list = fs::read(super::target::node_folder().join("package.json"))?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let packages = list["dependencies"]
        .as_object()
        .context("no dependencies")?;
    let each = packages
        .iter()
        .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or_default()));
    Ok(each.collect::<Vec<_>>().join(", "))
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
