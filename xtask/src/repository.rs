//! Checks of what is committed: lock files that work anywhere, snapshots that a test still reads.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use roost_testbed::{process, workspace};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Fails when a lock file says where a package was fetched from: a mirror's address would break every other machine.
pub fn check_lock_files() -> Result<()> {
    let mut problems = Vec::new();
    for path in tracked_files()? {
        let text =
            || fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
        let found = match path.file_name().and_then(|name| name.to_str()) {
            Some("Cargo.lock") => foreign_cargo_sources(&text()?),
            Some("package-lock.json" | "npm-shrinkwrap.json") => npm_addresses(&text()?)?,
            Some(name) if name.starts_with("requirements") => pip_addresses(&text()?),
            _ => continue,
        };
        problems.extend(
            found
                .into_iter()
                .map(|address| format!("{}: {address}", path.display())),
        );
    }
    if !problems.is_empty() {
        bail!("lock files hold addresses:\n{}", problems.join("\n"));
    }
    Ok(())
}

/// Fails when a committed snapshot was read by no test of the run that wrote `references`.
pub fn check_snapshots(references: &Path) -> Result<()> {
    let references = fs::read_to_string(references).unwrap_or_default();
    let committed = tracked_files()?.into_iter();
    let snapshots = committed.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "snap")
    });
    let unread = unread(&references, snapshots);
    if !unread.is_empty() {
        bail!(
            "no test reads these snapshots, remove them:\n{}",
            unread.join("\n")
        );
    }
    Ok(())
}

/// The snapshots that no line of `references` names. Both may spell a path in several ways.
fn unread(references: &str, snapshots: impl Iterator<Item = PathBuf>) -> Vec<String> {
    let read = references
        .lines()
        .filter_map(|line| Path::new(line).canonicalize().ok());
    let read: HashSet<_> = read.collect();
    let unread =
        snapshots.filter(|path| path.canonicalize().is_ok_and(|path| !read.contains(&path)));
    unread.map(|path| path.display().to_string()).collect()
}

/// The files of the repository, absolute; those that are deleted but not yet committed are left out.
fn tracked_files() -> Result<Vec<PathBuf>> {
    let root = workspace::root();
    let names = process::output(&mut process::git(&[
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let paths = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root.join(name));
    Ok(paths.filter(|path| path.is_file()).collect())
}

fn foreign_cargo_sources(lock_file: &str) -> Vec<String> {
    let sources = lock_file
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let sources = sources.map(|source| source.trim_matches('"'));
    sources
        .filter(|source| *source != CRATES_IO)
        .map(str::to_owned)
        .collect()
}

fn npm_addresses(lock_file: &str) -> Result<Vec<String>> {
    let lock_file: serde_json::Value = serde_json::from_str(lock_file)?;
    let packages = lock_file["packages"]
        .as_object()
        .context("a package-lock.json without packages")?;
    let resolved = packages
        .values()
        .filter_map(|package| package["resolved"].as_str());
    Ok(resolved.map(str::to_owned).collect())
}

fn pip_addresses(requirements: &str) -> Vec<String> {
    let lines = requirements
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter(|line| line.contains("://"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_io_is_a_source_for_cargo() {
        let lock_file = format!(
            "[[package]]\nname = \"a\"\nsource = \"{CRATES_IO}\"\n\n\
             [[package]]\nname = \"b\"\nsource = \"sparse+https://mirror.example/index/\"\n\n\
             [[package]]\nname = \"c\"\nsource = \"git+https://example.org/c#1\"\n"
        );
        assert_eq!(
            foreign_cargo_sources(&lock_file),
            [
                "sparse+https://mirror.example/index/",
                "git+https://example.org/c#1"
            ]
        );
    }

    #[test]
    fn an_npm_lock_file_names_no_address() {
        let clean = r#"{"packages": {"": {}, "node_modules/a": {"version": "1.0.0", "integrity": "sha512-x"}}}"#;
        let mirrored =
            r#"{"packages": {"node_modules/a": {"resolved": "https://mirror.example/a.tgz"}}}"#;
        assert!(npm_addresses(clean).unwrap().is_empty());
        assert_eq!(
            npm_addresses(mirrored).unwrap(),
            ["https://mirror.example/a.tgz"]
        );
        assert!(npm_addresses("{}").is_err());
    }

    #[test]
    fn a_snapshot_that_no_test_reads_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let [read, forgotten] =
            ["read.snap", "forgotten.snap"].map(|name| folder.path().join(name));
        fs::write(&read, "").unwrap();
        fs::write(&forgotten, "").unwrap();
        let references = format!("{}/./read.snap\n", folder.path().display());
        assert_eq!(
            unread(&references, [read, forgotten.clone()].into_iter()),
            [forgotten.display().to_string()]
        );
    }

    #[test]
    fn requirements_name_no_index() {
        assert!(pip_addresses("# see https://example.org\na==1\n").is_empty());
        assert_eq!(
            pip_addresses("--index-url https://mirror.example\n").len(),
            1
        );
    }
}
