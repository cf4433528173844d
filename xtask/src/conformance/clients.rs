//! Checks that are one program each: Redocly on the `OpenAPI` document, promtool on the metrics, TypeScript on the load
//! scenarios.

use super::{Fixture, scripts};
use anyhow::{Context, Result, bail};
use roost_testbed::{
    process::{self, DeathSignal, tied},
    tools, workspace,
};
use std::{fs, fs::File, process::Command};

const DOCUMENT: &str = "schema/openapi.json";

/// Redocly's recommended rules, without network access. Its warnings are shown.
pub(super) fn openapi() -> Result<String> {
    let mut lint = tied("node", DeathSignal::Kill, None);
    lint.arg(scripts().join("node_modules/@redocly/cli/bin/cli.js"));
    lint.args(["lint", "--extends=recommended", DOCUMENT]);
    lint.env("REDOCLY_TELEMETRY", "off");
    lint.env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    process::run(lint.current_dir(workspace::root()))?;
    let document = fs::read_to_string(workspace::root().join(DOCUMENT))?;
    let document: serde_json::Value = serde_json::from_str(&document)?;
    let paths = document["paths"].as_object().context("no paths")?;
    Ok(format!("{} paths, 0 errors", paths.len()))
}

/// Checks the load scenarios, and the file that k6 runs, against k6's types. The licence of k6 itself keeps it out of
/// this project and its tests.
pub(super) fn k6_types() -> Result<()> {
    let folder = workspace::root().join("loadtest/k6");
    tools::npm_ci(&folder)?;
    let npm = tools::apt_program("npm", "npm")?;
    let mut check = tied(npm, DeathSignal::Terminate, None);
    check.args(["run", "--silent", "check"]);
    process::run(check.current_dir(folder))
}

/// Checks with promtool what Prometheus would read of each instance and of Caddy.
pub(super) fn metrics(fixture: &mut Fixture) -> Result<String> {
    let promtool = tools::apt_program("promtool", "prometheus")?;
    let mut families = Vec::new();
    let mut problems = Vec::new();
    for (name, metrics) in fixture.system.metrics()? {
        let declared = metrics.lines().filter(|line| line.starts_with("# TYPE "));
        families.push(declared.count().to_string());
        if !metrics.contains("_http_requests_total{") {
            bail!("the metrics of {name} tell of no request:\n{metrics}");
        }
        let path = fixture.folder.join(format!("{name}.txt"));
        fs::write(&path, metrics)?;
        let mut check = Command::new(&promtool);
        check.args(["check", "metrics"]).stdin(File::open(path)?);
        let output = check.output().context("cannot start promtool")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || !said.trim().is_empty() {
            problems.push(format!("promtool on {name}: {}", said.trim()));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(format!("{} metrics, 0 problems", families.join(" + ")))
}
