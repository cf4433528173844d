//! Runs one of the scripts, shows what it prints, and restarts instances when it asks.

use super::{Fixture, Reach, Way, scripts};
use anyhow::{Context, Result, bail};
use roost_testbed::{
    interrupt,
    process::{self, DeathSignal, tied},
};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

/// A script prints this and the signal that it wants. It gets a line back once all instances serve again.
const RESTART: &str = "xtask: restart ";

/// Runs a script once for each way; gives how much passed.
pub(super) fn node(
    fixture: &mut Fixture,
    reach: &mut Reach,
    script: &str,
    ways: &[Way],
) -> Result<String> {
    along(ways, |way| {
        let mut command = tied("node", DeathSignal::Kill, None);
        command.args(["--test-reporter=spec", script]);
        run(fixture, reach, &mut command, way)
    })
}

/// Runs a script once for each way; gives how much passed.
pub(super) fn python(
    fixture: &mut Fixture,
    reach: &mut Reach,
    script: &str,
    ways: &[Way],
) -> Result<String> {
    let python = fixture.python.join("python");
    along(ways, |way| {
        let mut command = tied(&python, DeathSignal::Kill, None);
        command.args(["-B", "-u", script]);
        run(fixture, reach, &mut command, way)
    })
}

/// Goes all ways, also after one that failed.
fn along(ways: &[Way], mut go: impl FnMut(Way) -> Result<u32>) -> Result<String> {
    let mut counts = Vec::new();
    let mut failed = Vec::new();
    for way in ways {
        println!("-- {}", way.describe());
        match go(*way) {
            Ok(count) => counts.push(count),
            Err(error) => failed.push(format!("{}: {error:#}", way.describe())),
        }
        interrupt::check()?;
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    let all: u32 = counts.iter().sum();
    Ok(match counts.len() {
        1 => format!("{all} passed"),
        ways => format!("{all} passed on {ways} ways"),
    })
}

/// Gives the script's own count of what passed.
fn run(fixture: &mut Fixture, reach: &mut Reach, command: &mut Command, way: Way) -> Result<u32> {
    let shown = process::display(command);
    command
        .env("ROOST_URL", fixture.system.url(way))
        .env("ROOST_COOKIES", if way.cookies { "kept" } else { "" })
        .env(
            "ROOST_INSTANCES",
            fixture.system.instances().len().to_string(),
        )
        .current_dir(scripts());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let mut orders = child.stdin.take().context("no way in")?;
    let output = BufReader::new(child.stdout.take().context("no way out")?);
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut printed = output.lines().map_while(Result::ok);
        printed.all(|line| sender.send(line).is_ok());
    });
    let mut count = None;
    while !interrupt::requested() {
        let line = match lines.recv_timeout(process::POLL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(signal) = line.strip_prefix(RESTART) {
            let restarted = reach.restart(&mut fixture.system, signal);
            if restarted.is_err() {
                child.kill()?;
                child.wait()?;
            }
            restarted?;
            writeln!(orders, "all instances serve again")?;
        } else {
            println!("{line}");
        }
        count = passed(&line).or(count);
    }
    let status = process::wait(&mut child)?;
    let _ = reader.join();
    if !status.success() {
        bail!("`{shown}` failed: {}", process::describe(status));
    }
    match count {
        Some(count) => Ok(count),
        None => bail!("`{shown}` says nothing of what passed"),
    }
}

/// `ℹ pass 12` of Node's test runner, or `12 passed, …`; nothing for none.
fn passed(line: &str) -> Option<u32> {
    let of_node = line.strip_prefix("ℹ pass ");
    let of_others = line.split_once(" passed").map(|(number, _)| number);
    let number = of_node.or(of_others)?.parse().ok()?;
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_counted() {
        assert_eq!(passed("ℹ pass 12"), Some(12));
        assert_eq!(passed("122 passed, 0 errors"), Some(122));
        for nothing in ["ℹ pass 0", "0 passed", "ℹ fail 3", "it passed"] {
            assert_eq!(passed(nothing), None, "{nothing}");
        }
    }
}
