//! Each scenario in small, on an unoptimised server: that it runs, delivers everything and is refused nothing. No figure of
//! it is worth anything.

use super::{Figures, GENERATOR, read, table::FAULTS, target::LIMITS};
use anyhow::{Context, Result, bail, ensure};
use roost_testbed::{ports, process, process::DeathSignal, roost, roost::Roost, workspace};
use std::{fs, path::Path, process::Command, thread};

/// Each with what must have happened.
const SCENARIOS: [(&str, &str); 11] = [
    ("fanout --rooms 3 --members 4 --durable", "delivery rate"),
    ("fanout --rooms 1 --members 8 --rate 5", "delivery rate"),
    ("idle --sockets 30", "connect rate"),
    ("storm --sockets 20 --rate 20", "resume rate"),
    ("churn --people 20 --rate 10 --stay 300", "visit rate"),
    ("board --people 5 --pointing 5", "delivery rate"),
    ("chat --rooms 3 --members 3 --rate 20", "delivery rate"),
    (
        "rest --people 4 --reads 20 --pages 20 --writes 20 --sign-ins 2",
        "sign-in rate",
    ),
    (
        "graphql --people 4 --reads 20 --pages 20 --writes 20",
        "write rate",
    ),
    ("slow --readers 100 --rate 5", "delivery rate"),
    ("soak --rooms 2 --members 3 --rate 10", "memory at the end"),
];

const AT_A_TIME: usize = 3;

pub fn run() -> Result<()> {
    let program = roost::build(true)?;
    let mut build = process::tied("cargo", DeathSignal::Terminate, None);
    build.args(["build", "--locked", "--workspace", "--bin", GENERATOR]);
    process::run(build.current_dir(workspace::root()))?;
    let folder = tempfile::tempdir()?;
    let database = format!(
        "sqlite:{}?mode=rwc",
        folder.path().join("roost.db").display()
    );
    let mut environment = vec![("ROOST_DATABASE_URL", database)];
    environment.extend(LIMITS.map(|(key, value)| (key, value.to_owned())));
    let mut roost = Roost::start_on(ports::free_port()?, &program, folder.path(), environment)?;
    // They mostly wait, so some of them run at a time.
    thread::scope(|scope| {
        let each_of = |first: usize| SCENARIOS.into_iter().skip(first).step_by(AT_A_TIME);
        let run = |first: usize| {
            let folder = folder.path().join(first.to_string());
            let roost = &roost;
            scope.spawn(move || each_of(first).try_for_each(|one| check(one, roost, &folder)))
        };
        let running: Vec<_> = (0..AT_A_TIME).map(run).collect();
        let mut outcomes = running.into_iter().map(thread::ScopedJoinHandle::join);
        outcomes.try_for_each(|outcome| outcome.unwrap_or_else(|_| bail!("a scenario panicked")))
    })?;
    roost.stop()
}

/// Runs a scenario, which must have done something, without a fault.
fn check((scenario, done): (&str, &str), roost: &Roost, folder: &Path) -> Result<()> {
    let figures =
        run_one(scenario, roost, folder).with_context(|| format!("roost-loadtest {scenario}"))?;
    let value = |name: &str| figures.get(name).map(|(value, _)| *value);
    let amount = value(done).with_context(|| format!("{scenario}: no {done}"))?;
    ensure!(amount > 0.0, "{scenario}: {done} is {amount}");
    for fault in FAULTS {
        let count = value(fault).unwrap_or(0.0);
        ensure!(count == 0.0, "{scenario}: {fault} is {count}");
    }
    println!("bench smoke: {scenario}: {done} {amount:.1}");
    Ok(())
}

fn run_one(scenario: &str, roost: &Roost, folder: &Path) -> Result<Figures> {
    fs::create_dir_all(folder)?;
    let report = folder.join("report.json");
    let mut generator = Command::new(workspace::target_folder().join("debug").join(GENERATOR));
    generator.args(["--quiet", "--unjudged", "--warm-up", "1", "--duration", "2"]);
    generator.args([
        "--url",
        &roost.url(),
        "--pid",
        &roost.process_id().to_string(),
    ]);
    generator.arg("--json").arg(&report);
    generator
        .arg("--sessions")
        .arg(folder.join("sessions.json"));
    generator.args(scenario.split(' '));
    process::output(&mut generator)?;
    read(&report)
}
