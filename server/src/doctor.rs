//! `roost doctor`: checks every store and address that the configuration names, and reports problems with advice. It
//! changes nothing.
//!
//! Like `boot.rs` it composes: each store reads its own diagnostics, and the checks here judge them.

mod database;
mod files;
mod host;
mod journal;
mod redis;
mod secrets;

use crate::config::{Loaded, Problems};
use serde::Serialize;
use std::{
    fmt::{self, Write},
    future::Future,
    time::Duration,
};
use tokio::time::timeout;

/// How long a server may take to answer one check.
const PATIENCE: Duration = Duration::from_secs(3);
const CONFIGURATION: &str = "configuration";

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, but an operator should look at it.
    Warning,
    /// It does not work, or an acknowledged write could be lost.
    Problem,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub name: &'static str,
    pub verdict: Verdict,
    pub finding: String,
    /// What to do; absent when the check is ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            finding: finding.into(),
            advice: None,
        }
    }

    fn warning(name: &'static str, finding: impl Into<String>, advice: &str) -> Self {
        Self {
            verdict: Verdict::Warning,
            advice: Some(advice.to_owned()),
            ..Self::ok(name, finding)
        }
    }

    fn problem(name: &'static str, finding: impl Into<String>, advice: &str) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::warning(name, finding, advice)
        }
    }
}

/// All checks, in the order of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The worst of the checks.
    pub verdict: Verdict,
    pub checks: Vec<Check>,
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        let worst = checks.iter().map(|check| check.verdict).max();
        Self {
            verdict: worst.unwrap_or(Verdict::Ok),
            checks,
        }
    }

    /// The number of problems.
    pub fn problems(&self) -> usize {
        let is_problem = |check: &&Check| check.verdict == Verdict::Problem;
        self.checks.iter().filter(is_problem).count()
    }

    /// For machines: one JSON document.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// For people: one line per check.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.checks.iter().map(|check| check.name.len());
        let width = names.max().unwrap_or(0);
        for check in &self.checks {
            write!(
                f,
                "{:<7}  {:<width$}  {}",
                check.verdict, check.name, check.finding
            )?;
            if let Some(advice) = &check.advice {
                write!(f, " → {advice}")?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

/// Runs every check, also after one has failed.
pub async fn examine(loaded: &Result<Loaded, Problems>) -> Report {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(Problems(problems)) => {
            let advice =
                "correct it in the environment or in the file; `.env.example` has every key";
            let check = |problem: &String| Check::problem(CONFIGURATION, problem, advice);
            return Report::new(problems.iter().map(check).collect());
        }
    };
    let config = &loaded.config;
    let mut checks = vec![Check::ok(CONFIGURATION, "every key can be read")];
    checks.extend(secrets::examine(config));
    checks.push(host::file_limit(config));
    checks.extend(files::examine(config));
    let (addresses, database, journal, redis) = tokio::join!(
        host::addresses(config),
        database::examine(loaded),
        journal::examine(loaded),
        redis::examine(loaded),
    );
    checks.extend([addresses, database, journal, redis].concat());
    // Removes secrets from the findings: the error of a library could repeat the URL it was given.
    for check in &mut checks {
        for secret in secrets::hidden(config) {
            check.finding = check.finding.replace(secret, "***");
        }
    }
    Report::new(checks)
}

/// Waits for `PATIENCE` at most. The error has all causes, or that it took too long, in one sentence.
async fn in_time<T, E: Into<anyhow::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(PATIENCE, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(causes(&error.into())),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The causes, outermost first, without those that the cause before repeats.
fn causes(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if sentence.contains(&text) {
            continue;
        }
        if !sentence.is_empty() {
            sentence += ": ";
        }
        sentence += text.trim_end().trim_end_matches('.');
    }
    // A check is one line, though the error of a library may have several.
    sentence.replace('\n', " ")
}
