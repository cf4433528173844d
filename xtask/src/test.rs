//! `cargo xtask test`: every test of the workspace against real servers, and no test left out.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, DeathSignal, tied};
use crate::servers::Servers;
use crate::{assets, prove, workspace};

/// Test programs are cargo's children, not ours: each is tied to cargo as cargo is to us.
const TIED_TESTS: &str = r#"target."cfg(all())".runner = ["setpriv", "--pdeathsig", "KILL", "--"]"#;

/// Boots the servers once, runs `cargo test` with `arguments` and fails when a test failed or was ignored.
pub fn run(arguments: &[String]) -> Result<()> {
    run_with(arguments, &[])
}

/// The same with further variables for the tests.
pub fn run_with(arguments: &[String], environment: &[(&str, &OsStr)]) -> Result<()> {
    assets::run()?;
    let servers = Servers::start()?;
    eprintln!("servers: {}", servers.describe());

    let mut command = tied("cargo", DeathSignal::Terminate, None);
    command.args(["test", "--locked", "--config", TIED_TESTS]);
    if !arguments
        .iter()
        .any(|word| word == "-p" || word.starts_with("--package"))
    {
        command.arg("--workspace");
    }
    command.args(arguments);
    command.envs(servers.environment());
    command.envs(environment.iter().copied());
    command.current_dir(workspace::root());
    let ignored = run_counting_ignored(&mut command)?;
    if ignored > 0 {
        bail!("{ignored} tests are ignored: a test that does not run is no test");
    }
    // Named tests were asked for: the proof is no part of them.
    if arguments.is_empty() {
        prove::run(&prove::Proof::Order(prove::Order::SMALL))?;
    }
    eprintln!("passed with {}", servers.describe());
    Ok(())
}

/// Shows the output as it comes and adds up how many tests were ignored.
fn run_counting_ignored(command: &mut Command) -> Result<usize> {
    let shown = process::display(command);
    eprintln!("+ {shown}");
    command.stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    // A thread of its own reads, so that this one notices an interruption.
    let reader = std::thread::spawn(move || {
        let mut ignored = 0;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            ignored += ignored_in(&line);
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        ignored
    });
    let status = process::wait(&mut child)?;
    let ignored = reader.join().unwrap_or_default();
    if !status.success() {
        bail!("`{shown}` failed: {}", process::describe(status));
    }
    Ok(ignored)
}

/// The number in `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn ignored_in(line: &str) -> usize {
    let Some(counts) = line.strip_prefix("test result: ") else {
        return 0;
    };
    counts
        .split(';')
        .filter_map(|count| count.trim().strip_suffix(" ignored"))
        .filter_map(|number| number.parse::<usize>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_counted() {
        let line = "test result: ok. 3 passed; 0 failed; 12 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(ignored_in(line), 12);
        assert_eq!(ignored_in("test a::b ... ignored"), 0);
        assert_eq!(ignored_in("12 ignored"), 0);
    }
}
