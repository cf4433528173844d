//! The stages of the Dockerfile, gone through in folders instead of an engine.
//!
//! Each `COPY` is made from what .dockerignore lets a build see, each `RUN` is run with the programs of this machine.
//! Two things differ: nothing comes from the images, and cargo checks the code instead of building it for release.

use std::{
    fs::{self, File},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::dockerfile::{self, Copied, IGNORE_FILE, Stage};
use super::ignore::Ignore;
use crate::{
    assets,
    process::{self, DeathSignal, tied},
    workspace,
};

/// The stages that run something, in the order in which they do.
const PAGE: &str = "page";
const BUILDER: &str = "builder";
/// Before the `RUN`: `cargo build --release` becomes `cargo check`, and says what it looked at anew.
const CHECK_INSTEAD: &str = r#"
    cargo() {
        [ "$1 $2" = "build --release" ] || { echo "an unexpected cargo $*" >&2; return 1; }
        shift 2
        command cargo check --quiet --message-format=json "$@" > "$ROOST_CHECKED"
    }
"#;
/// Files come as old as the checkout is, which is older than what an earlier layer built.
const CHECKOUT_AGE: Duration = Duration::from_hours(24 * 365);

pub(super) fn check(root: &Path) -> Result<String> {
    let stages = dockerfile::read(root)?;
    let ignore = Ignore::parse(&fs::read_to_string(root.join(IGNORE_FILE))?)?;
    // Always the same folder: what cargo keeps of one run shows whether the next one takes it for its own.
    let folder = workspace::target_folder().join("containers");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let rehearsal = Rehearsal {
        root,
        ignore,
        folder,
    };
    let perform = |name| {
        let stage = stages.iter().find(|stage| stage.name == name);
        rehearsal.perform(stage.with_context(|| format!("no stage {name}"))?)
    };
    perform(PAGE)?;
    let bundles = rehearsal.check_page()?;
    perform(BUILDER)?;
    let checked = rehearsal.check_builder()?;
    Ok(format!(
        "{bundles} bundles as in the page, {checked} of our crates checked"
    ))
}

struct Rehearsal<'a> {
    /// The build's context.
    root: &'a Path,
    ignore: Ignore,
    /// Holds one folder for each stage.
    folder: PathBuf,
}

impl Rehearsal<'_> {
    fn perform(&self, stage: &Stage) -> Result<()> {
        let mut workdir = self.folder.join(&stage.name);
        for instruction in &stage.instructions {
            if let Some(copied) = instruction.copied() {
                self.copy(&copied, &workdir)?;
                continue;
            }
            match instruction.keyword.as_str() {
                "WORKDIR" => {
                    workdir = self.inside(&stage.name, &instruction.text);
                    fs::create_dir_all(&workdir)?;
                }
                "RUN" => self.run(&instruction.text, &workdir)?,
                other => bail!("stage {}: {other} is not known here", stage.name),
            }
        }
        Ok(())
    }

    fn run(&self, text: &str, workdir: &Path) -> Result<()> {
        let mut shell = tied("sh", DeathSignal::Terminate, None);
        shell.arg("-c").arg(format!("{CHECK_INSTEAD}\n{text}"));
        shell.env("CARGO_TARGET_DIR", workspace::target_folder());
        shell.env("ROOST_CHECKED", self.checked());
        process::output(shell.current_dir(workdir)).map(drop)
    }

    /// What cargo said last.
    fn checked(&self) -> PathBuf {
        self.folder.join("checked.json")
    }

    fn copy(&self, copied: &Copied, workdir: &Path) -> Result<()> {
        for source in &copied.sources {
            let (from, ignore) = match copied.from {
                Some(stage) => (self.inside(stage, source), None),
                None => (self.root.join(source), Some(&self.ignore)),
            };
            // A folder gives what is in it; a file goes by its own name into a target that ends like a folder.
            let mut to = workdir.join(copied.target);
            if from.is_file() && copied.target.ends_with('/') {
                to.push(from.file_name().context("a source without a name")?);
            }
            let files = self.copy_all(&from, &to, ignore)?;
            if files == 0 {
                bail!("COPY {source}: nothing of it is to be seen by the build");
            }
        }
        Ok(())
    }

    /// Copies a file, or all in a folder, and says how many files that were.
    fn copy_all(&self, from: &Path, to: &Path, ignore: Option<&Ignore>) -> Result<usize> {
        let relative = from.strip_prefix(self.root).unwrap_or(from);
        if from.is_dir() {
            let mut files = 0;
            for entry in fs::read_dir(from)? {
                let name = entry?.file_name();
                files += self.copy_all(&from.join(&name), &to.join(&name), ignore)?;
            }
            return Ok(files);
        }
        if ignore.is_some_and(|ignore| ignore.excludes(relative)) {
            return Ok(0);
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        let copy = File::options().write(true).open(to)?;
        copy.set_modified(SystemTime::now() - CHECKOUT_AGE)?;
        Ok(1)
    }

    /// Where a path of a stage is here.
    fn inside(&self, stage: &str, path: &str) -> PathBuf {
        let parts = Path::new(path).components();
        let parts = parts.filter(|part| !matches!(part, Component::RootDir));
        self.folder.join(stage).join(parts.collect::<PathBuf>())
    }

    /// The bundles of the stage are those of `cargo xtask assets`, byte for byte.
    fn check_page(&self) -> Result<usize> {
        assets::run()?;
        let wanted = contents(&workspace::root().join("server/page/vendor"))?;
        let made = contents(&self.inside(PAGE, "/page/vendor"))?;
        for (name, content) in &wanted {
            let same = made
                .iter()
                .any(|(made, bytes)| made == name && bytes == content);
            if !same {
                bail!("the stage {PAGE} does not make the {name} that `cargo xtask assets` makes");
            }
        }
        if made.len() != wanted.len() {
            bail!(
                "the stage {PAGE} makes {} files, not {}",
                made.len(),
                wanted.len()
            );
        }
        Ok(made.len())
    }

    /// The last cargo looked at our code, and not at the empty crates of the layer before.
    fn check_builder(&self) -> Result<usize> {
        let said = fs::read_to_string(self.checked()).context("no stage ran cargo")?;
        let ours = self.inside(BUILDER, "/build");
        let checked = looked_at_anew(&said, &ours)?;
        for wanted in ["roost_schema", "roost_migrations", "roost_server", "roost"] {
            if !checked.iter().any(|name| name == wanted) {
                bail!("cargo took the empty {wanted} of the layer before for the real one");
            }
        }
        // What the server embeds must be where it looks.
        contents(&self.inside(BUILDER, "/build/server/page/vendor"))?;
        Ok(checked.len())
    }
}

/// The libraries and programs below `folder` that cargo did not find done.
fn looked_at_anew(said: &str, folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for line in said.lines() {
        let message: Value = serde_json::from_str(line)?;
        let source = message["target"]["src_path"].as_str().unwrap_or_default();
        let is_code = message["target"]["kind"] != serde_json::json!(["custom-build"]);
        let is_new = message["fresh"] == false;
        if Path::new(source).starts_with(folder) && is_code && is_new {
            names.push(
                message["target"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    Ok(names)
}

/// The files of a folder by name.
fn contents(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let files = entries.map(|entry| {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, fs::read(entry.path())?))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cargo_looked_at_anew_in_the_folder_counts() {
        let line = |name: &str, path: &str, kind: &str, fresh: bool| {
            let target = serde_json::json!({"name": name, "src_path": path, "kind": [kind]});
            serde_json::json!({"target": target, "fresh": fresh}).to_string()
        };
        let said = [
            line("roost", "/b/server/src/main.rs", "bin", false),
            line("roost_schema", "/b/schema/src/lib.rs", "lib", true),
            line(
                "build-script-build",
                "/b/server/build.rs",
                "custom-build",
                false,
            ),
            line("serde", "/registry/serde/src/lib.rs", "lib", false),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let names = looked_at_anew(&said.join("\n"), Path::new("/b")).unwrap();
        assert_eq!(names, ["roost"]);
    }
}
