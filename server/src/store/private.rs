//! Files that no other user of the host may read, because they hold password hashes, signing keys and everything people
//! wrote. Their modes are set here and do not depend on the umask of the process.

use std::{
    fs::{DirBuilder, File, Permissions, metadata, set_permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The permissions of the file's group and of all other users.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit, such as `/tmp`, only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// The endings of the files beside a database file (<https://sqlite.org/tempfiles.html>), and of the lock file.
const BESIDE: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];

/// What other users of the host can access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposed {
    /// Files that other users can read or write.
    pub files: Vec<PathBuf>,
    /// The folder, if other users can replace one of the files in it.
    pub replaceable_in: Option<PathBuf>,
    /// The folder, if other users can list its files.
    pub listed_in: Option<PathBuf>,
}

/// Makes a folder and its parents. An existing folder keeps its mode, because other programs may use it, too.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Opens a private file for writing; creates it if it does not exist.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options.create(true).append(true).mode(FILE_MODE);
    let file = file.open(path)?;
    tighten(path)?;
    Ok(file)
}

/// Creates the file of an `SQLite` database before `SQLite` does, and takes from other users the access that an earlier
/// release left them. `SQLite` gives the files beside it the same mode. An existing file is never opened, because
/// closing it would release `SQLite`'s locks (<https://sqlite.org/howtocorrupt.html> §2.2).
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

/// What other users can access of a database.
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

/// The database file and the files beside it. `database` has its links resolved, as `SQLite` resolves them.
fn files(database: &Path) -> Vec<PathBuf> {
    let beside = BESIDE.iter().map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        path.into()
    });
    std::iter::once(database.to_owned()).chain(beside).collect()
}

/// Takes access from other users. Only the owner of a file or root can; `roost doctor` reports a file of another user.
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

/// The mode of a file; `None` when it does not exist.
fn mode(path: &Path) -> io::Result<Option<u32>> {
    match metadata(path) {
        Ok(found) => Ok(Some(found.mode())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
