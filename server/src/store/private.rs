//! Files that no other user of the host may read: passwords' hashes, signing keys and everything people
//! wrote lie in them. The umask that the program is started with decides nothing about them.

use std::{
    fs::{DirBuilder, File, Permissions, metadata, set_permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What others may do: the file's group, and everybody.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
/// With it only the owner of a file may replace it, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// What lies beside a database file (<https://sqlite.org/tempfiles.html>), and our lock.
const BESIDE: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];

/// What other users of the host can get at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposed {
    /// Files that they can read or write.
    pub files: Vec<PathBuf>,
    /// The folder, if they can put another file in place of one of ours.
    pub replaceable_in: Option<PathBuf>,
    /// The folder, if they can see what lies in it.
    pub listed_in: Option<PathBuf>,
}

/// Makes a folder and those above it. One that is there is left as it is: it may be meant for others, too.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Opens a file of ours to write to, made if it is not there.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.create(true).append(true).mode(FILE_MODE);
    let file = file.open(path)?;
    tighten(path)?;
    Ok(file)
}

/// Makes the file of an `SQLite` database before `SQLite` does, and takes from others what an earlier release left
/// them. `SQLite` gives what it makes beside it the same mode. A file that is there is never opened, because
/// closing it would end `SQLite`'s locks (<https://sqlite.org/howtocorrupt.html> §2.2).
pub(super) fn prepare(database: &Path) -> io::Result<()> {
    let mut options = File::options();
    match options
        .create_new(true)
        .write(true)
        .mode(FILE_MODE)
        .open(database)
    {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for file in files(&database.canonicalize()?) {
        tighten(&file)?;
    }
    Ok(())
}

/// What others can get at of a database.
pub(super) fn exposed(database: &Path) -> io::Result<Exposed> {
    let mut exposed = Exposed::default();
    let database = database.canonicalize()?;
    for file in files(&database) {
        if mode(&file)?.is_some_and(|mode| mode & OTHERS != 0) {
            exposed.files.push(file);
        }
    }
    let folder = database.parent().unwrap_or(Path::new("/"));
    let mode = mode(folder)?.unwrap_or_default();
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        exposed.replaceable_in = Some(folder.to_owned());
    } else if mode & OTHERS != 0 {
        exposed.listed_in = Some(folder.to_owned());
    }
    Ok(exposed)
}

/// The database and what lies beside it, links resolved as `SQLite` does.
fn files(database: &Path) -> Vec<PathBuf> {
    let beside = BESIDE.iter().map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        path.into()
    });
    std::iter::once(database.to_owned()).chain(beside).collect()
}

/// Only the owner can, or root: `roost doctor` reports a file that belongs to another user.
fn tighten(path: &Path) -> io::Result<()> {
    let Some(mode) = mode(path)?.filter(|mode| mode & OTHERS != 0) else {
        return Ok(());
    };
    let tight = Permissions::from_mode(mode & !OTHERS);
    match set_permissions(path, tight) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// None: it is not there.
fn mode(path: &Path) -> io::Result<Option<u32>> {
    match metadata(path) {
        Ok(found) => Ok(Some(found.mode())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
