//! `cargo xtask compat`: golden files of this release in `compat/<version>/`, written by real servers on real stores.
//!
//! The tests read those of every release, this one's included: `server/tests/it/compat/`.

use anyhow::Result;
use clap::Subcommand;

use crate::{test, workspace};

const FOLDER: &str = "compat";
/// The tests that record, when this variable says where.
const RECORDERS: &str = "what_this_release_writes_it_reads";
const WRITE_VARIABLE: &str = "ROOST_COMPAT_WRITE";

#[derive(Subcommand)]
pub enum Compat {
    /// Writes the files of this release anew, and reads them again.
    Write,
}

pub fn run(compat: &Compat) -> Result<()> {
    match compat {
        Compat::Write => write(),
    }
}

fn write() -> Result<()> {
    let folder = workspace::root()
        .join(FOLDER)
        .join(env!("CARGO_PKG_VERSION"));
    let arguments = ["-p", "roost-server", "--test", "it", RECORDERS].map(str::to_owned);
    test::run_with(&arguments, &[(WRITE_VARIABLE, folder.as_os_str())])?;
    println!("written: {}", folder.display());
    Ok(())
}
