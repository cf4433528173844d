//! What the operating system allows one process.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides sockets: the runtime's own, standard streams, reports.
const SPARE: u64 = 200;

/// Raises the limit of open files so that this many sockets fit.
pub fn allow_sockets(count: usize) -> Result<()> {
    let needed = u64::try_from(count)? + SPARE;
    let present = getrlimit(Resource::Nofile);
    if present.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    ensure!(
        present.maximum.is_none_or(|maximum| maximum >= needed),
        "{count} sockets need a limit of {needed} open files, and {:?} is the most that this process may ask for",
        present.maximum
    );
    let wanted = Rlimit {
        current: Some(needed),
        maximum: present.maximum,
    };
    setrlimit(Resource::Nofile, wanted).context("cannot raise the limit of open files")
}
