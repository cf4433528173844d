//! Starts what the containers would start: the configuration of each instance, and the health commands.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use roost_testbed::{
    process,
    roost::{self, Roost},
};
use serde_json::Value;

use super::compose::Project;

/// The program's name in the image, and in the commands that ask it.
const PROGRAM: &str = "roost";

/// Checks that each instance's variables are a valid configuration.
pub(super) fn check_environment(root: &Path) -> Result<String> {
    let program = roost::build(true)?;
    let project = Project::read(root)?;
    let mut variables = 0;
    let mut checked = 0;
    for (name, service) in project.instances() {
        let environment = texts(&service["environment"])?;
        variables = environment.len();
        let elsewhere = tempfile::tempdir()?;
        let mut check = Command::new(&program);
        check
            .args(["config", "check"])
            .env_clear()
            .envs(environment);
        process::output(check.current_dir(elsewhere.path())).with_context(|| name.clone())?;
        checked += 1;
    }
    if checked == 0 {
        bail!("no service is built here");
    }
    Ok(format!("{checked} instances, {variables} variables each"))
}

/// Checks that the health command of each instance succeeds for a server that runs, and fails for one that does not.
pub(super) fn check_health(root: &Path) -> Result<String> {
    let project = Project::read(root)?;
    let mut commands = Vec::new();
    for (name, service) in project.instances() {
        commands.push(health_command(service).with_context(|| name.clone())?);
    }
    let program = roost::build(true)?;
    let folder = tempfile::tempdir()?;
    let database = format!("sqlite:{}/roost.db?mode=rwc", folder.path().display());
    let mut server = Roost::start(&program, folder.path(), &database, "")?;
    for command in &commands {
        ask(&server, command)?;
    }
    server.stop()?;
    for command in &commands {
        if ask(&server, command).is_ok() {
            bail!(
                "`{}` says yes of a server that has stopped",
                command.join(" ")
            );
        }
    }
    Ok(format!("{} commands", commands.len()))
}

/// Runs a health command as in the image, which may have no program but `roost`.
fn ask(server: &Roost, command: &[String]) -> Result<()> {
    let words: Vec<_> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        [PROGRAM, arguments @ ..] => server.ask(arguments).map(drop),
        _ => bail!("`{}` needs more than the image has", command.join(" ")),
    }
}

fn health_command(service: &Value) -> Result<Vec<String>> {
    let test: Vec<String> = serde_json::from_value(service["healthcheck"]["test"].clone())
        .context("no health check")?;
    match test.split_first() {
        Some((kind, command)) if kind == "CMD" => Ok(command.to_vec()),
        _ => bail!("the health check needs a shell"),
    }
}

pub(super) fn texts(environment: &Value) -> Result<Vec<(&str, &str)>> {
    let environment = environment.as_object().context("no environment")?;
    let pairs = environment.iter().map(|(name, value)| {
        let value = value
            .as_str()
            .with_context(|| format!("{name} has no value"))?;
        Ok((name.as_str(), value))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_health_check_without_a_shell_is_taken_apart() {
        let service = |test: Value| json!({"healthcheck": {"test": test}});
        let words = health_command(&service(json!(["CMD", "roost", "health"]))).unwrap();
        assert_eq!(words, ["roost", "health"]);
        assert!(health_command(&service(json!(["CMD-SHELL", "roost health"]))).is_err());
        assert!(health_command(&json!({})).is_err());
    }

    #[test]
    fn a_variable_without_a_value_is_refused() {
        assert_eq!(texts(&json!({"A": "1"})).unwrap(), [("A", "1")]);
        assert!(texts(&json!({"A": null})).is_err());
    }
}
