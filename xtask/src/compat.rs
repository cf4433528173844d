//! `cargo xtask compat`: golden files, written by real servers on real stores, which the tests of every later tree read
//! (`server/tests/it/compat/`).
//!
//! `compat/next` holds those of this tree, and is written anew when a form changes. When `compat/base` is moved, they are
//! kept under its name, and never change again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use roost_testbed::{base, process, workspace};

use crate::test;

const FOLDER: &str = "compat";
const NEXT: &str = "next";
/// The tests that record. A variable names the folder that they write into.
const RECORDERS: &str = "what_this_release_writes_it_reads";
const WRITE_VARIABLE: &str = "ROOST_COMPAT_WRITE";

#[derive(Subcommand)]
pub enum Compat {
    /// Writes the files of this tree anew, and reads them again.
    Write,
    /// Keeps the files of this tree as those of the commit that `compat/base` names.
    Keep,
}

pub fn run(compat: &Compat) -> Result<()> {
    match compat {
        Compat::Write => write(),
        Compat::Keep => keep(),
    }
}

fn folder(name: &str) -> PathBuf {
    workspace::root().join(FOLDER).join(name)
}

fn write() -> Result<()> {
    let next = folder(NEXT);
    let arguments = ["-p", "roost-server", "--test", "it", RECORDERS].map(str::to_owned);
    test::run_with(&arguments, &[(WRITE_VARIABLE, next.as_os_str())])?;
    println!("written: {}", next.display());
    Ok(())
}

fn keep() -> Result<()> {
    let name = base::name()?;
    let kept = folder(&name);
    ensure!(
        !kept.exists(),
        "{} is there already, and what a release wrote does not change",
        kept.display()
    );
    fs::rename(folder(NEXT), &kept).context("no files to keep: cargo xtask compat write")?;
    println!("kept: {}", kept.display());
    Ok(())
}

/// An error unless the base has golden files, and no file that was kept has changed since.
pub fn check() -> Result<()> {
    let name = base::name()?;
    ensure!(
        folder(&name).is_dir(),
        "the base has no golden files: cargo xtask compat keep"
    );
    let mut history = process::git(&[
        "log",
        "--format=",
        "--name-only",
        "--diff-filter=MD",
        "--",
        FOLDER,
    ]);
    let mut uncommitted = process::git(&["diff", "--name-only", "HEAD", "--", FOLDER]);
    let changed = process::output(&mut history)? + &process::output(&mut uncommitted)?;
    let changed = changed_since_kept(&changed);
    let changed: Vec<_> = changed
        .into_iter()
        .filter(|file| workspace::root().join(file).exists())
        .collect();
    if !changed.is_empty() {
        bail!("what earlier releases wrote does not change, and these have: {changed:?}");
    }
    Ok(())
}

/// The files among the changed ones that are kept golden files.
fn changed_since_kept(names: &str) -> BTreeSet<&str> {
    let is_kept = |name: &&str| {
        let mut parts = name.split('/').skip(1);
        parts.next().is_some_and(|folder| folder != NEXT) && parts.next().is_some()
    };
    names.lines().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_this_tree_may_change() {
        let names = "compat/base\ncompat/next/sqlite.json\n\ncompat/0123456789ab/sqlite.json\n";
        let changed = changed_since_kept(names);
        assert_eq!(
            changed.into_iter().collect::<Vec<_>>(),
            ["compat/0123456789ab/sqlite.json"]
        );
    }
}
