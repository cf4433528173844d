//! Runs one of the scripts, shows what it prints, and restarts the server when it asks.

use super::{House, scripts};
use crate::{
    interrupt,
    process::{self, DeathSignal, tied},
};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

/// A script says this, and which signal it wants, and hears a line back once the server serves again.
const RESTART: &str = "xtask: restart ";

pub(super) fn node(house: &mut House, script: &str) -> Result<String> {
    let mut command = tied("node", DeathSignal::Kill, None);
    command.args(["--test-reporter=spec", script]);
    run(house, &mut command)
}

pub(super) fn python(house: &mut House, script: &str) -> Result<String> {
    let mut command = tied(house.python.join("python"), DeathSignal::Kill, None);
    command.args(["-B", "-u", script]);
    run(house, &mut command)
}

/// Gives the script's own count of what passed.
fn run(house: &mut House, command: &mut Command) -> Result<String> {
    let shown = process::display(command);
    command
        .env("ROOST_URL", house.roost.url())
        .current_dir(scripts());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let mut orders = child.stdin.take().context("no way in")?;
    let output = BufReader::new(child.stdout.take().context("no way out")?);
    let (teller, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut lines = output.lines().map_while(Result::ok);
        lines.all(|line| teller.send(line).is_ok());
    });
    let mut count = None;
    while !interrupt::requested() {
        let line = match told.recv_timeout(process::POLL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(signal) = line.strip_prefix(RESTART) {
            restart(house, signal)?;
            writeln!(orders, "the server serves again")?;
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

fn restart(house: &mut House, signal: &str) -> Result<()> {
    match signal {
        "SIGTERM" => house.roost.stop()?,
        "SIGKILL" => house.roost.kill_nine()?,
        other => bail!("a script asked to restart the server by {other}"),
    }
    house.roost.restart()
}

/// `ℹ pass 12` of Node's test runner, or `12 passed, …`; nothing for none.
fn passed(line: &str) -> Option<String> {
    let of_node = line
        .strip_prefix("ℹ pass ")
        .map(|n| (n, format!("{n} passed")));
    let of_others = line
        .split_once(" passed")
        .map(|(n, _)| (n, line.to_owned()));
    let (number, count) = of_node.or(of_others)?;
    (number.parse::<u32>().ok()? > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_counted() {
        assert_eq!(passed("ℹ pass 12").unwrap(), "12 passed");
        assert_eq!(
            passed("122 passed, 0 errors").unwrap(),
            "122 passed, 0 errors"
        );
        for nothing in ["ℹ pass 0", "0 passed", "ℹ fail 3", "it passed"] {
            assert_eq!(passed(nothing), None, "{nothing}");
        }
    }
}
