//! schemathesis on every REST operation: no failure, and each operation succeeds at least once.

use super::{Fixture, Way, scripts};
use anyhow::{Context, Result, bail};
use roost_testbed::{
    process::{self, DeathSignal, tied},
    workspace,
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// How many examples each operation gets in each phase.
const EXAMPLES_MAX: &str = "10";
/// A stream without an end, so schemathesis may or may not see its first bytes.
const STREAM: &str = "GET /api/v1/rooms/{roomId}/stream";

/// How often an operation was answered with which status.
type Answers = BTreeMap<String, BTreeMap<String, u64>>;

pub(super) fn run(fixture: &Fixture, ways: &[Way]) -> Result<String> {
    let mut counts = Vec::new();
    for way in ways {
        println!("-- {}", way.describe());
        counts.push(run_on(fixture, *way)?);
    }
    Ok(counts.join("; "))
}

fn run_on(fixture: &Fixture, way: Way) -> Result<String> {
    let url = fixture.system.url(way);
    let path = fixture.folder.join("answers.json");
    let mut command = tied(
        fixture.python.join("schemathesis"),
        DeathSignal::Terminate,
        None,
    );
    command.arg("--config-file");
    command.arg(scripts().join("schemathesis.toml"));
    command.args(["run", "--checks=all", "--max-examples", EXAMPLES_MAX]);
    command.arg("--no-color").arg("--continue-on-failure");
    // This check judges how fast the machine generates requests, not what the server answers.
    command.arg("--suppress-health-check=too_slow");
    command.arg(format!("{url}/api/v1/openapi.json"));
    command.env("ROOST_URL", url);
    command.env("ROOST_ANSWERS", &path);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.env(
        "SCHEMATHESIS_HOOKS",
        scripts().join("schemathesis_hooks.py"),
    );
    process::run(command.current_dir(&fixture.folder))?;
    let text = fs::read_to_string(&path).context("the hooks wrote down no answers")?;
    judge(&operations()?, &serde_json::from_str(&text)?)
}

/// Every operation of the committed document, as `GET /api/v1/me`.
fn operations() -> Result<Vec<String>> {
    let document = fs::read_to_string(workspace::root().join(Path::new("schema/openapi.json")))?;
    let document: Value = serde_json::from_str(&document)?;
    let paths = document["paths"].as_object().context("no paths")?;
    let mut operations = Vec::new();
    for (path, item) in paths {
        let methods = item.as_object().into_iter().flatten();
        let described = methods.filter(|(_, operation)| operation.get("operationId").is_some());
        operations.extend(described.map(|(method, _)| format!("{} {path}", method.to_uppercase())));
    }
    Ok(operations)
}

fn judge(operations: &[String], answers: &Answers) -> Result<String> {
    let was_done = |operation: &&String| {
        let statuses = answers.get(*operation);
        statuses.is_some_and(|statuses| statuses.keys().any(|status| status.starts_with('2')))
    };
    let undone: Vec<_> = operations
        .iter()
        .filter(|operation| *operation != STREAM && !was_done(operation))
        .map(String::as_str)
        .collect();
    if !undone.is_empty() {
        bail!("never answered with success: {}", undone.join(", "));
    }
    let requests: u64 = answers.values().flat_map(BTreeMap::values).sum();
    let done = operations.iter().filter(was_done).count();
    Ok(format!(
        "{requests} requests, {done} of {} operations done, 0 failures",
        operations.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_was_only_refused_is_found() {
        let operations = ["GET /a".to_owned(), STREAM.to_owned()];
        let answered = |status: &str| {
            let statuses = BTreeMap::from([("404".to_owned(), 2), (status.to_owned(), 1)]);
            Answers::from([("GET /a".to_owned(), statuses)])
        };
        let count = judge(&operations, &answered("204")).unwrap();
        assert_eq!(count, "3 requests, 1 of 2 operations done, 0 failures");
        assert!(judge(&operations, &answered("401")).is_err());
        assert!(judge(&operations, &Answers::new()).is_err());
    }
}
