//! The release before: the commit that `compat/base` names, checked out beside this tree and built there.
//!
//! Both its tree and what cargo made of it stay under the target folder, so that only the first build is a long one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{self, git};
use crate::{roost, workspace};

/// The file that names the oldest commit beside which this tree runs.
const BASE_FILE: &str = "compat/base";
const FOLDER: &str = "base";
const SHORT_HASH_CHARACTERS: usize = 12;

/// A server built from another commit.
pub struct Base {
    pub program: PathBuf,
    /// The first characters of its commit's hash.
    pub name: String,
}

/// Builds the server from `commit`, or from the one that `compat/base` names.
pub fn build(commit: Option<&str>, debug: bool) -> Result<Base> {
    let commit = match commit {
        Some(commit) => commit.to_owned(),
        None => named()?,
    };
    let hash = resolve(&commit)?;
    let name = short(&hash);
    let folder = workspace::target_folder().join(FOLDER);
    let tree = folder.join(&name);
    check_out(&hash, &tree)?;
    let program = roost::build_in(&tree, &folder.join("target"), debug)
        .with_context(|| format!("the release before, {name}, cannot be built"))?;
    Ok(Base { program, name })
}

/// The name of the commit in `compat/base`: the first characters of its hash.
pub fn name() -> Result<String> {
    Ok(short(&named()?))
}

fn short(hash: &str) -> String {
    hash.chars().take(SHORT_HASH_CHARACTERS).collect()
}

/// The commit in `compat/base`.
fn named() -> Result<String> {
    let file = workspace::root().join(BASE_FILE);
    let Ok(text) = fs::read_to_string(&file) else {
        bail!(
            "{BASE_FILE} is missing: it holds the hash of the oldest commit that this tree runs beside; \
             write it, or name a commit with --base"
        );
    };
    commit_in(&text)
}

fn commit_in(text: &str) -> Result<String> {
    let hash = text.trim();
    if hash.len() < SHORT_HASH_CHARACTERS
        || !hash.chars().all(|character| character.is_ascii_hexdigit())
    {
        bail!("{BASE_FILE} holds one commit's hash and nothing else, not {hash:?}");
    }
    Ok(hash.to_owned())
}

/// The full hash of a commit that this repository has.
fn resolve(commit: &str) -> Result<String> {
    let commit = format!("{commit}^{{commit}}");
    let found = process::output(&mut git(&[
        "rev-parse",
        "--verify",
        "--end-of-options",
        &commit,
    ]));
    let hash = found.with_context(|| {
        format!("this repository has no commit {commit}: a shallow clone is deepened by `git fetch --unshallow`")
    })?;
    Ok(hash.trim().to_owned())
}

/// A tree of its own, kept from the last run if there is one.
fn check_out(hash: &str, tree: &Path) -> Result<()> {
    if tree.join("Cargo.toml").exists() {
        let present = process::output(git(&["rev-parse", "HEAD"]).current_dir(tree))?;
        if present.trim() == hash {
            return Ok(());
        }
        bail!("{} is not a tree of {hash}: remove it", tree.display());
    }
    let place = tree.display().to_string();
    // `--force`: git remembers a worktree whose folder was removed with the target folder.
    process::output(&mut git(&[
        "worktree", "add", "--force", "--detach", &place, hash,
    ]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_one_hash() {
        assert_eq!(commit_in("2b3282312cfa\n").unwrap(), "2b3282312cfa");
        for text in ["", "2b32\n", "main\n", "2b32\n2b33\n", "--upload-pack=x"] {
            let refused = commit_in(text).unwrap_err().to_string();
            assert!(refused.contains("one commit's hash"), "{refused}");
        }
    }

    #[test]
    fn a_commit_that_is_not_there_is_said_to_be() {
        let refused = resolve(&"0".repeat(40)).unwrap_err().to_string();
        assert!(refused.contains("has no commit"), "{refused}");
    }
}
