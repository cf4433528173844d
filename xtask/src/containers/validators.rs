//! Checks by programs of other projects: hadolint, the compose specification's schema, promtool, Caddy.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use roost_testbed::{
    process::{self, DeathSignal, tied},
    servers, tools, workspace,
};

use serde_json::Value;

use super::{
    compose::{self, Project},
    instances, python,
};

const DOCKERFILE: &str = "Dockerfile";
const PROMETHEUS_FILE: &str = "deploy/prometheus/prometheus.yml";
const CADDY_FILE: &str = "caddy/Caddyfile";
const METRICS_PORT: &str = ":9464";

/// Fails on any remark, also on one of style.
pub(super) fn hadolint(root: &Path) -> Result<String> {
    let mut lint = tied(python()?.join("hadolint"), DeathSignal::Kill, None);
    lint.args(["--no-color", "--failure-threshold", "style", DOCKERFILE]);
    let said = run(lint, root)?;
    if !said.is_empty() {
        bail!("{said}");
    }
    Ok("0 remarks".to_owned())
}

/// Checks the compose file against the schema that the checker brings.
pub(super) fn compose_schema(root: &Path) -> Result<String> {
    let mut check = tied(python()?.join("check-jsonschema"), DeathSignal::Kill, None);
    check.args([
        "--color",
        "never",
        "--builtin-schema",
        "vendor.compose-spec",
    ]);
    check.arg(compose::FILE);
    run(check, root)
}

/// Checks Prometheus's configuration with promtool, and that it names every instance.
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

/// Checks the Caddyfile with Caddy in the environment that compose gives it, and where Caddy would then listen and
/// send.
pub(super) fn caddy(root: &Path) -> Result<String> {
    let project = Project::read(root)?;
    let service = &project.json["services"]["caddy"];
    let environment = instances::texts(&service["environment"])?;
    let folder = tempfile::tempdir()?;
    let caddy = |command: &str| {
        let mut caddy = tied(servers::caddy::program()?, DeathSignal::Kill, None);
        caddy.args([command, "--adapter", "caddyfile", "--config", CADDY_FILE]);
        caddy.env_clear().envs(environment.iter().copied());
        // Otherwise Caddy leaves files in the home folder; and PATH has to have `setpriv`.
        caddy
            .env("XDG_DATA_HOME", folder.path())
            .env("XDG_CONFIG_HOME", folder.path());
        caddy.env("PATH", workspace::environment("PATH").unwrap_or_default());
        caddy.current_dir(root);
        process::output(&mut caddy)
    };
    caddy("validate")?;
    let adapted: Value = serde_json::from_str(&caddy("adapt")?)?;
    let published = service["ports"][0]["target"].as_u64();
    let published = published.context("caddy publishes nothing")?;
    let (mut listens, mut dials) = (Vec::new(), Vec::new());
    collect(&adapted, "listen", &mut listens);
    collect(&adapted, "dial", &mut dials);
    if !listens
        .iter()
        .any(|address| address.ends_with(&format!(":{published}")))
    {
        bail!("compose publishes port {published}, but Caddy listens on {listens:?}");
    }
    for (name, _) in project.instances() {
        if !dials.contains(&format!("{name}:4000").as_str()) {
            bail!("Caddy does not send to {name}");
        }
    }
    Ok(format!("valid, listens on {}", listens.join(" and ")))
}

/// Every text that stands under this key, alone or in a list.
fn collect<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name == key {
                    let list = inner
                        .as_array()
                        .map_or_else(|| vec![inner], |list| list.iter().collect());
                    found.extend(list.into_iter().filter_map(Value::as_str));
                }
                collect(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

/// The hosts of the lines that name an instance's metrics.
fn targets(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "));
    let hosts = lines.filter_map(|target| target.trim().strip_suffix(METRICS_PORT));
    hosts.map(str::to_owned).collect()
}

/// The whole output of a checker: some write their findings to stdout, some to stderr.
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

    #[test]
    fn addresses_are_found_at_any_depth() {
        let adapted = serde_json::json!({"a": [{"listen": [":1", ":2"]}, {"b": {"dial": "x:3"}}]});
        let (mut listens, mut dials) = (Vec::new(), Vec::new());
        collect(&adapted, "listen", &mut listens);
        collect(&adapted, "dial", &mut dials);
        assert_eq!((listens, dials), (vec![":1", ":2"], vec!["x:3"]));
    }
}
