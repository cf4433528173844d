//! docker-compose.yml as compose reads it, with the secrets that the command in its head makes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use roost_testbed::{process, tools};
use serde_json::Value;
use tempfile::TempDir;

pub(super) const FILE: &str = "docker-compose.yml";
const SECRETS_FILE: &str = ".env";
/// The end of the line in the file's head that makes the secrets.
const MAKES_SECRETS: &str = "> .env)";
/// The mode of files that only their owner may read.
const PRIVATE_MODE: u32 = 0o600;

/// The project.
pub(super) struct Project {
    /// As compose prints it: every service, with its variables filled in.
    pub(super) json: Value,
}

impl Project {
    /// Reads the file of this folder with fresh secrets.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let (folder, _) = prepare(root)?;
        Ok(Self {
            json: read(folder.path())?,
        })
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.json["services"].as_object().into_iter().flatten()
    }

    /// The images that are built here, one for each service that builds it.
    pub(super) fn built_images(&self) -> Vec<&Value> {
        let builds = |service: &Value| service["build"].is_object();
        self.services()
            .filter(|(_, service)| builds(service))
            .map(|(_, service)| &service["image"])
            .collect()
    }

    /// The services that run an image built here.
    pub(super) fn instances(&self) -> impl Iterator<Item = (&String, &Value)> {
        let built = self.built_images();
        self.services()
            .filter(move |(_, service)| built.contains(&&service["image"]))
    }
}

/// Checks that the command in the file's head makes all secrets that the file demands and no others, and that only
/// their owner may read them. Compose refuses the file when one is missing.
pub(super) fn check_secrets(root: &Path) -> Result<String> {
    let (folder, secrets) = prepare(root)?;
    let path = folder.path().join(SECRETS_FILE);
    let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
    if mode != PRIVATE_MODE {
        bail!("the first command leaves .env readable to others ({mode:o})");
    }
    read(folder.path()).context("with the secrets of the first command")?;
    for (missing, _) in &secrets {
        let others = secrets.iter().filter(|(name, _)| name != missing);
        let others: Vec<_> = others
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        fs::write(&path, others.concat())?;
        match read(folder.path()) {
            Err(error) if error.to_string().contains(missing) => {}
            Err(error) => return Err(error.context(format!("without {missing}"))),
            Ok(_) => bail!("compose starts without {missing}"),
        }
    }
    Ok(format!("{} secrets, none of them defaulted", secrets.len()))
}

/// A folder with a copy of the file and the secrets beside it: their names and values.
fn prepare(root: &Path) -> Result<(TempDir, Vec<(String, String)>)> {
    let text =
        fs::read_to_string(root.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let command = first_command(&text)?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join(FILE), &text)?;
    process::output(
        Command::new("sh")
            .args(["-c", command])
            .current_dir(folder.path()),
    )
    .context("the first command of the head fails")?;
    let made = fs::read_to_string(folder.path().join(SECRETS_FILE))?;
    let secrets = made.lines().filter_map(|line| line.split_once('='));
    let secrets = secrets
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok((folder, secrets))
}

fn first_command(text: &str) -> Result<&str> {
    let head = text.lines().map_while(|line| line.strip_prefix('#'));
    head.map(str::trim)
        .find(|line| line.ends_with(MAKES_SECRETS))
        .with_context(|| format!("no line in the head of {FILE} ends with `{MAKES_SECRETS}`"))
}

/// Reads the file of a folder with Docker Compose's own library, with no variables but those of `.env`.
fn read(folder: &Path) -> Result<Value> {
    let reader = tools::own_go_program("compose-reader", &super::folder())?;
    let mut reader = Command::new(reader);
    reader.arg(FILE).current_dir(folder).env_clear();
    Ok(serde_json::from_str(&process::output(&mut reader)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_is_found_in_the_head_only() {
        let text = "# To start:\n#\n#   (echo A=1 > .env)\nname: a\n";
        assert_eq!(first_command(text).unwrap(), "(echo A=1 > .env)");
        assert!(first_command("name: a\n# (echo A=1 > .env)\n").is_err());
    }
}
