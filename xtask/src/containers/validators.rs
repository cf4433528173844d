//! Checks that other people's programs make: hadolint, the compose specification's schema, promtool.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use super::{
    compose::{self, Project},
    dockerfile, python,
};
use crate::{
    process::{self, DeathSignal, tied},
    tools,
};

const PROMETHEUS_FILE: &str = "deploy/prometheus/prometheus.yml";
const METRICS_PORT: &str = ":9464";

/// Every remark counts, also one of style.
pub(super) fn hadolint(root: &Path) -> Result<String> {
    let mut lint = tied(python()?.join("hadolint"), DeathSignal::Kill, None);
    lint.args(["--no-color", "--failure-threshold", "style", dockerfile::FILE]);
    let said = run(lint, root)?;
    if !said.is_empty() {
        bail!("{said}");
    }
    Ok("0 remarks".to_owned())
}

/// The schema that the checker brings with it.
pub(super) fn compose_schema(root: &Path) -> Result<String> {
    let mut check = tied(python()?.join("check-jsonschema"), DeathSignal::Kill, None);
    check.args(["--color", "never", "--builtin-schema", "vendor.compose-spec"]);
    check.arg(compose::FILE);
    run(check, root)
}

/// promtool's opinion, and that no instance was forgotten.
pub(super) fn prometheus(root: &Path) -> Result<String> {
    let promtool: PathBuf = tools::apt_program("promtool", "prometheus")?;
    let mut check = tied(promtool, DeathSignal::Kill, None);
    check.args(["check", "config", PROMETHEUS_FILE]);
    run(check, root)?;
    let project = Project::read(root)?;
    let wanted = project.instances().map(|(name, _)| name.clone()).collect();
    let read = targets(&fs::read_to_string(root.join(PROMETHEUS_FILE))?);
    if read != wanted {
        bail!("{PROMETHEUS_FILE} reads {read:?}, but the instances are {wanted:?}");
    }
    Ok(format!("valid, {} instances", read.len()))
}

/// The hosts of the lines that name an instance's metrics.
fn targets(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let hosts = lines.filter_map(|target| target.trim().strip_suffix(METRICS_PORT));
    hosts.map(str::to_owned).collect()
}

/// What a checker says, whole: some write what is wrong to their output, some to their errors.
fn run(mut command: std::process::Command, root: &Path) -> Result<String> {
    let output = command.current_dir(root).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if !output.status.success() {
        bail!("`{}`: {said}", process::display(&command));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instances_that_prometheus_reads_are_found() {
        let text = "- targets:\n    - a:9464\n    # - b:9464\n    - c:9464\n    - caddy:2020\n";
        assert_eq!(targets(text), BTreeSet::from(["a".into(), "c".into()]));
    }
}
