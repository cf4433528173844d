//! `cargo xtask schema`: writes the generated files that are committed, or checks that they are fresh.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use roost_testbed::process::{self, DeathSignal, tied};
use roost_testbed::workspace;

/// The commands of the server that print the generated files, and where each file is kept.
const GENERATED: [(&[&str], &str); 5] = [
    (&["schema", "export", "openapi"], "schema/openapi.json"),
    (&["schema", "export", "graphql"], "schema/schema.graphql"),
    (&["schema", "export", "errors"], "docs/errors.md"),
    (&["config", "example"], ".env.example"),
    (&["config", "reference"], "docs/configuration.md"),
];

/// Writes the files, or with `check` fails when one of them is not what the server prints today.
pub fn run(check: bool) -> Result<()> {
    let roost = build()?;
    let mut stale = Vec::new();
    for (arguments, file) in GENERATED {
        let fresh = print(&roost, arguments)?;
        let path = workspace::root().join(file);
        if fs::read_to_string(&path).is_ok_and(|kept| kept == fresh) {
            continue;
        }
        if check {
            stale.push(file);
        } else {
            fs::write(&path, fresh)?;
            eprintln!("wrote {file}");
        }
    }
    if !stale.is_empty() {
        bail!(
            "stale: {}; run `cargo xtask schema` and commit",
            stale.join(", ")
        );
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let mut build = tied("cargo", DeathSignal::Terminate, None);
    build.args([
        "build",
        "--quiet",
        "--locked",
        // The workspace's features are those of the tests, so nothing is built twice.
        "--workspace",
        "--bin",
        "roost",
    ]);
    process::run(build.current_dir(workspace::root()))?;
    Ok(workspace::target_folder().join("debug/roost"))
}

/// Runs the server without any environment, so that a developer's own settings cannot reach a committed file.
fn print(roost: &PathBuf, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(roost);
    command.args(arguments).env_clear();
    let text = process::output(command.current_dir(workspace::target_folder()))?;
    if text.trim().is_empty() {
        bail!("`roost {}` printed nothing", arguments.join(" "));
    }
    Ok(text)
}
