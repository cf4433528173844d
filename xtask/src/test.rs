//! `cargo xtask test`: every test of the workspace against real servers, and no test left out.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roost_proof::{Order, Proof};
use roost_testbed::process::{self, DeathSignal, tied};
use roost_testbed::servers::Servers;
use roost_testbed::workspace;

use crate::{assets, bench};

/// Test programs are children of cargo, so each is tied to cargo as cargo is tied to this process.
const TIED_TESTS: &str = r#"target."cfg(all())".runner = ["setpriv", "--pdeathsig", "KILL", "--"]"#;

const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";
/// More threads than cores, because tests mostly wait for servers and deadlines.
const THREADS_PER_CORE: usize = 2;
/// How long the tests may print nothing. No test takes as long, and one that hangs must not block the rest.
const SILENCE_MAX: Duration = Duration::from_mins(5);
/// What libtest prints once of a test that takes long.
const SLOW: &str = " has been running for over 60 seconds";

/// Boots the servers once, runs `cargo test` with `arguments` and fails when a test failed or was ignored.
pub fn run(arguments: &[String]) -> Result<()> {
    run_with(arguments, &[])
}

/// Like `run`, with further variables for the tests.
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
    if workspace::environment(THREADS_VARIABLE).is_none() {
        command.env(THREADS_VARIABLE, threads().to_string());
    }
    command.envs(environment.iter().copied());
    command.current_dir(workspace::root());
    let ignored = run_counting_ignored(&mut command)?;
    if ignored > 0 {
        bail!("{ignored} tests are ignored: a test that does not run is no test");
    }
    // Without arguments every test runs, so the small proof and load runs follow. Named tests go without them.
    if arguments.is_empty() {
        roost_proof::run(&Proof::Order(Order::SMALL))?;
        bench::smoke::run()?;
    }
    eprintln!("passed with {}", servers.describe());
    Ok(())
}

fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    THREADS_PER_CORE * cores
}

/// Shows the output as it comes and adds up how many tests were ignored. Tests that say nothing for too long are ended.
fn run_counting_ignored(command: &mut Command) -> Result<usize> {
    let shown = process::display(command);
    eprintln!("+ {shown}");
    command.stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let (sender, lines) = mpsc::channel();
    // A thread of its own reads the output, so that this one notices an interruption.
    let reader = std::thread::spawn(move || {
        let mut ignored = 0;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            ignored += ignored_in(&line);
            let _ = writeln!(std::io::stdout(), "{line}");
            let _ = sender.send(line);
        }
        ignored
    });
    let mut progress = Progress::default();
    let status = process::wait_watching(&mut child, || {
        for line in lines.try_iter() {
            progress.note(&line);
        }
        progress.check()
    })?;
    let ignored = reader.join().unwrap_or_default();
    if !status.success() {
        bail!("`{shown}` failed: {}", process::describe(status));
    }
    Ok(ignored)
}

/// How far the tests are.
#[derive(Default)]
struct Progress {
    /// When the tests last printed something. `None` before the first test, because compiling takes its time.
    last: Option<Instant>,
    /// The tests that libtest has called slow and that have not ended.
    slow: BTreeSet<String>,
}

impl Progress {
    fn note(&mut self, line: &str) {
        self.last = Some(Instant::now());
        let Some(said) = line.strip_prefix("test ") else {
            return;
        };
        if let Some(name) = said.strip_suffix(SLOW) {
            self.slow.insert(name.to_owned());
        } else if let Some((name, _)) = said.split_once(" ... ") {
            self.slow.remove(name);
        }
    }

    fn check(&self) -> Result<()> {
        if self.last.is_some_and(|last| last.elapsed() > SILENCE_MAX) {
            bail!(
                "the tests said nothing for {} s; these do not end: {:?}",
                SILENCE_MAX.as_secs(),
                self.slow
            );
        }
        Ok(())
    }
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
    fn a_test_that_does_not_end_is_named() {
        let mut progress = Progress::default();
        assert!(progress.check().is_ok());
        progress.note("test a::b has been running for over 60 seconds");
        progress.note("test a::c has been running for over 60 seconds");
        progress.note("test a::c ... ok");
        assert!(progress.check().is_ok());
        progress.last = Instant::now().checked_sub(SILENCE_MAX + Duration::from_secs(1));
        let error = progress.check().unwrap_err().to_string();
        assert!(error.contains(r#"{"a::b"}"#), "{error}");
    }

    #[test]
    fn ignored_tests_are_counted() {
        let line = "test result: ok. 3 passed; 0 failed; 12 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(ignored_in(line), 12);
        assert_eq!(ignored_in("test a::b ... ignored"), 0);
        assert_eq!(ignored_in("12 ignored"), 0);
    }
}
