//! People are registered once for all tables, because each costs a password hash: what a target left in its database is
//! given to every later target of the same program and store.

use super::target::{Kind, Running, Target};
use anyhow::Result;
use roost_testbed::{
    process,
    servers::{Server, postgres},
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Of the first instance of a target, with what `SQLite` puts beside it.
pub(super) const DATABASE: &str = "roost.db";
pub(super) const SESSIONS: &str = "sessions.json";
/// A database of `PostgreSQL`, as text.
const DUMP: &str = "roost.sql";

/// The folder of a target's first instance, within the target's.
const FIRST: &str = "0";

/// How many people are kept of each kind of target, and where.
pub(super) struct People {
    folder: TempDir,
    counts: HashMap<Kind, usize>,
}

impl People {
    pub(super) fn none() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            counts: HashMap::new(),
        })
    }

    /// Gives a target who is kept, before its program has ever run. `folder`: the target's.
    pub(super) fn restore(
        &self,
        target: Target,
        folder: &Path,
        server: Option<&Server>,
    ) -> Result<()> {
        let Some(kind) = target.kind().filter(|kind| self.counts.contains_key(kind)) else {
            return Ok(());
        };
        let kept = self.folder_of(kind);
        fs::copy(kept.join(SESSIONS), folder.join(SESSIONS))?;
        match server {
            Some(server) => {
                let mut restore = postgres::psql(server)?;
                process::output(restore.arg("-f").arg(kept.join(DUMP))).map(drop)
            }
            None => copy_database(&kept, &folder.join(FIRST)),
        }
    }

    /// Keeps the people of a target that was stopped, when there are more than before. Nothing else is in its database yet.
    pub(super) fn keep(&mut self, target: &Running, count: usize) -> Result<()> {
        let Some(kind) = target.target.kind() else {
            return Ok(());
        };
        if self.counts.get(&kind).is_some_and(|kept| *kept >= count) {
            return Ok(());
        }
        let kept = self.folder_of(kind);
        fs::create_dir_all(&kept)?;
        fs::copy(target.sessions(), kept.join(SESSIONS))?;
        match &target.postgres {
            Some(server) => {
                let mut dump = postgres::dump(server)?;
                process::output(dump.arg("-f").arg(kept.join(DUMP)))?;
            }
            None => copy_database(&target.folder.join(FIRST), &kept)?,
        }
        self.counts.insert(kind, count);
        Ok(())
    }

    fn folder_of(&self, kind: Kind) -> PathBuf {
        self.folder.path().join(format!("{kind:?}"))
    }
}

fn copy_database(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let name = file.file_name();
        if name.to_string_lossy().starts_with(DATABASE) {
            fs::copy(file.path(), to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_copied_with_its_log() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["roost.db", "roost.db-wal", "log"] {
            fs::write(from.path().join(name), name).unwrap();
        }
        let to = to.path().join("0");
        copy_database(from.path(), &to).unwrap();
        assert_eq!(
            fs::read_to_string(to.join("roost.db-wal")).unwrap(),
            "roost.db-wal"
        );
        assert!(to.join("roost.db").exists());
        assert!(!to.join("log").exists());
    }
}
