//! PostgreSQL: the programs on PATH or of Debian's package, a fresh data folder, and a superuser `roost` without password.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Launch, Server, temporary_folder};
use crate::process::{self, DeathSignal, tied};
use crate::tools;

/// Tells tests where the server is.
pub const URL_VARIABLE: &str = "ROOST_TEST_POSTGRES_URL";
/// Every test has its own database and pools. The connections of a server that was dropped without a stop, as after
/// kill -9, stay open until the tests end, because the Socket.IO library keeps its handlers.
const CONNECTIONS: &str = "max_connections=1500";
/// PostgreSQL refuses to run as root; Debian's package brings this user.
const USER: &str = "postgres";
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_isready", "createdb"];
/// Where Debian puts the programs of each major version.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// Starts a PostgreSQL. Durability settings stay at their defaults: the tests read them back.
pub fn start() -> Result<Server> {
    let programs = find_or_install()?;
    let user = tools::is_root().then_some(USER);
    let folder = temporary_folder()?;
    initialise(&programs, user, &folder)?;
    let mut server = Server::start(launch(programs.clone(), user), folder)?;

    let mut create = Command::new(programs.join("createdb"));
    create.args(["-h", "127.0.0.1", "-U", "roost", "-p"]);
    process::output(create.arg(server.port().to_string()).arg("roost"))?;
    server.url = format!("postgres://roost@127.0.0.1:{}/", server.port());
    let version = process::output(Command::new(programs.join("postgres")).arg("--version"))?;
    version.trim().clone_into(&mut server.version);
    Ok(server)
}

/// The program `psql`, connected to the database `roost` of a server. It ends with the first error.
pub fn psql(server: &Server) -> Result<Command> {
    let mut command = client("psql", server)?;
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]);
    Ok(command)
}

/// The program `pg_dump`, on the database `roost` of a server. psql can read its text into an empty database.
pub fn dump(server: &Server) -> Result<Command> {
    client("pg_dump", server)
}

fn client(program: &str, server: &Server) -> Result<Command> {
    let mut command = Command::new(find_or_install()?.join(program));
    command.args(["-h", "127.0.0.1", "-U", "roost", "-d", "roost", "-p"]);
    command.arg(server.port().to_string());
    Ok(command)
}

fn launch(programs: PathBuf, user: Option<&'static str>) -> Launch {
    let postgres = programs.join("postgres");
    Launch {
        name: "PostgreSQL",
        command: Box::new(move |port, folder| {
            let mut command = tied(&postgres, DeathSignal::Quit, user);
            command.arg("-D").arg(data_folder(folder));
            command.arg("-k").arg(socket_folder(folder));
            command.args(["-h", "127.0.0.1", "-c", CONNECTIONS, "-p"]);
            command.arg(port.to_string());
            command
        }),
        is_ready: Box::new(move |port| {
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-U", "roost", "-p"]);
            process::output(ask.arg(port.to_string())).is_ok()
        }),
        // SIGINT is its fast stop, SIGTERM would wait for its clients for ever, SIGQUIT stops without writing
        // anything, and SIGKILL would leave its children to find out by themselves.
        stop_signal: Signal::INT,
        discard_signal: Signal::QUIT,
    }
}

fn initialise(programs: &Path, user: Option<&str>, folder: &TempDir) -> Result<()> {
    for part in [data_folder(folder), socket_folder(folder)] {
        fs::create_dir(&part)?;
        if let Some(user) = user {
            let id = process::output(Command::new("id").args(["-u", user])).with_context(|| {
                format!("PostgreSQL refuses root and there is no user `{user}`")
            })?;
            chown(&part, Some(id.trim().parse()?), None)?;
        }
    }
    let mut initdb = tied(programs.join("initdb"), DeathSignal::Kill, user);
    // `--no-sync` covers only what initdb writes. What tests commit is synced as always.
    initdb.args([
        "--no-sync",
        "-U",
        "roost",
        "--auth=trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "-D",
    ]);
    initdb.current_dir("/");
    process::output(initdb.arg(data_folder(folder)))?;
    Ok(())
}

fn data_folder(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn socket_folder(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

/// The folder with the four programs.
fn find_or_install() -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    tools::apt_install("PostgreSQL", "postgresql")?;
    find().context("package `postgresql` is installed but brought no `postgres` and `initdb`")
}

fn find() -> Option<PathBuf> {
    // A link on PATH may be alone: what it points to has the other programs beside it.
    let on_path = process::find_on_path("postgres").and_then(|link| link.canonicalize().ok());
    let on_path = on_path.and_then(|program| Some(program.parent()?.to_path_buf()));
    on_path
        .into_iter()
        .chain(newest_debian_folder(Path::new(DEBIAN_FOLDER)))
        .find(|folder| {
            let mut needed = PROGRAMS.iter().map(|program| folder.join(program));
            needed.all(|program| process::is_executable(&program))
        })
}

fn newest_debian_folder(installed: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(installed).ok()?;
    let versions =
        versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max()?;
    Some(installed.join(newest.to_string()).join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_chosen_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9", "15", "14", "common"] {
            fs::create_dir(folder.path().join(version)).unwrap();
        }
        assert_eq!(
            newest_debian_folder(folder.path()),
            Some(folder.path().join("15/bin"))
        );
    }
}
