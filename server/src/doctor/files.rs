//! Checks the files of an `SQLite` database: whether other users of this host can read or replace them.

use super::Check;
use crate::{
    config::Config,
    store::{Exposed, Sql},
};
use std::path::Path;

const NAME: &str = "data folder";

/// `None` for a database that is no file, and for one that does not exist yet.
pub(super) fn examine(config: &Config) -> Option<Check> {
    match Sql::exposed(config.database_url.expose()) {
        Ok(exposed) => exposed.map(|exposed| judge(&exposed)),
        // The file does not exist or cannot be read, which the check of the database reports.
        Err(_) => None,
    }
}

fn judge(exposed: &Exposed) -> Check {
    if !exposed.files.is_empty() {
        let files: Vec<_> = exposed.files.iter().map(|file| shown(file)).collect();
        let files = files.join(" ");
        return Check::problem(
            NAME,
            format!("other users of this host can read {files}: all data, and the signing key"),
            &format!(
                "chmod 600 {files} (the next start does so if the files are its own); if others had access, \
                 sign with another key"
            ),
        );
    }
    if let Some(folder) = &exposed.replaceable_in {
        return Check::problem(
            NAME,
            format!(
                "other users of this host can put files of theirs in place of those in {}",
                shown(folder)
            ),
            &format!(
                "chmod go-w {}, or move the database into a folder of its own",
                shown(folder)
            ),
        );
    }
    if let Some(folder) = &exposed.listed_in {
        return Check::warning(
            NAME,
            format!(
                "other users of this host can look into {}, and read nothing there of Roost's",
                shown(folder)
            ),
            &format!(
                "chmod 700 {}, unless it is meant for others, too",
                shown(folder)
            ),
        );
    }
    Check::ok(
        NAME,
        "nobody else on this host can read or replace the files",
    )
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
