//! Programs that the servers and checks need. Each is found, or installed from a package registry; else an error says
//! in one sentence what to do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::process::{self, DeathSignal, tied};
use crate::workspace;

/// The path of `program`, installing the Debian package when it is not on PATH: `apt_program("chromium", "chromium")`.
pub fn apt_program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = process::find_on_path(program) {
        return Ok(found);
    }
    apt_install(program, package)?;
    process::find_on_path(program)
        .with_context(|| format!("package `{package}` is installed but brought no `{program}`"))
}

/// Installs a Debian package as root. `wanted` is what it is for, in the error.
pub fn apt_install(wanted: &str, package: &str) -> Result<()> {
    let by_hand =
        format!("{wanted} is missing: install it, for example `sudo apt-get install {package}`");
    if process::find_on_path("apt-get").is_none() || !is_root() {
        bail!("{by_hand}");
    }
    update_package_lists().with_context(|| by_hand.clone())?;
    let mut install = tied("apt-get", DeathSignal::Terminate, None);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args([
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ]);
    process::run(&mut install).context(by_hand)
}

/// A private virtual environment with exactly these requirements; gives its `bin` folder.
pub fn python_venv(name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let folder = workspace::tools_folder().join(name);
    let bin = folder.join("bin");
    let wanted = requirements.join("\n");
    let _lock = lock(name)?;
    let done = folder.join("installed.txt");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(bin);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    create_venv(&folder)?;
    let mut install = tied(bin.join("pip"), DeathSignal::Terminate, None);
    install.args(["install", "--quiet", "--disable-pip-version-check"]);
    install.args(requirements);
    process::run(&mut install)
        .with_context(|| format!("cannot install {} from PyPI", requirements.join(", ")))?;
    fs::write(done, wanted)?;
    Ok(bin)
}

/// Like `python_venv`, with the requirements of a file, one a line.
pub fn python_requirements(name: &str, path: &Path) -> Result<PathBuf> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let requirements: Vec<_> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    python_venv(name, &requirements)
}

/// Installs exactly what `package-lock.json` in this folder says, unless that was done before.
pub fn npm_ci(folder: &Path) -> Result<()> {
    let npm = apt_program("npm", "npm")?;
    let lock_file = fs::read_to_string(folder.join("package-lock.json"))
        .with_context(|| format!("no package-lock.json in {}", folder.display()))?;
    let done = folder.join("node_modules/.installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == lock_file) {
        return Ok(());
    }
    let mut install = tied(npm, DeathSignal::Terminate, None);
    install.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]);
    install.current_dir(folder);
    process::run(&mut install)
        .with_context(|| format!("cannot install the npm packages of {}", folder.display()))?;
    fs::write(done, lock_file)?;
    Ok(())
}

/// A program that `cargo install` builds once into the tools folder.
pub fn cargo_program(program: &str, version: &str) -> Result<PathBuf> {
    let root = workspace::tools_folder().join(format!("{program}-{version}"));
    let path = root.join("bin").join(program);
    let _lock = lock(program)?;
    if process::is_executable(&path) {
        return Ok(path);
    }
    let mut install = tied("cargo", DeathSignal::Terminate, None);
    // The program is built once and runs for seconds, so a fast build matters more than a fast program.
    install.args(["install", program, "--version", version]);
    install.args(["--locked", "--quiet", "--debug", "--root"]);
    install.arg(&root);
    install.env("CARGO_PROFILE_DEV_DEBUG", "false");
    install.env("CARGO_TARGET_DIR", root.join("target"));
    process::run(&mut install).with_context(|| format!("cannot build {program} {version}"))?;
    let _ = fs::remove_dir_all(root.join("target"));
    Ok(path)
}

/// A program that `go install` builds once into the tools folder: its module's path, with the folder of the program.
pub fn go_program(program: &str, module: &str, version: &str) -> Result<PathBuf> {
    let folder = workspace::tools_folder().join(format!("{program}-{version}/bin"));
    let path = folder.join(program);
    let _lock = lock(program)?;
    if process::is_executable(&path) {
        return Ok(path);
    }
    let go = find_go().with_context(|| {
        format!("building {program} {version} needs Go {GO_VERSION_MIN} or newer, which Debian 12 does not have: install it from go.dev, or put a {program} on PATH")
    })?;
    let mut install = tied(go, DeathSignal::Terminate, None);
    install.args(["install", &format!("{module}@v{version}")]);
    install.env("GOBIN", &folder);
    process::run(&mut install).with_context(|| {
        format!("cannot build {program} {version}; it needs Go {GO_VERSION_MIN} or newer")
    })?;
    Ok(path)
}

/// Builds a Go program of this repository into the tools folder. Go skips the build when nothing has changed.
pub fn own_go_program(program: &str, source: &Path) -> Result<PathBuf> {
    let path = workspace::tools_folder().join(program);
    let _lock = lock(program)?;
    let go = find_go().with_context(|| {
        format!("building {program} needs Go {GO_VERSION_MIN} or newer: install it from go.dev")
    })?;
    let mut build = tied(go, DeathSignal::Terminate, None);
    build.args(["build", "-o"]).arg(&path).arg(".");
    process::output(build.current_dir(source))?;
    Ok(path)
}

/// An older Go cannot fetch the toolchain that a module asks for.
const GO_VERSION_MIN: &str = "1.21";
/// Where Go's instructions unpack its archive. The folder may be missing from PATH.
const GO_FOLDER: &str = "/usr/local/go/bin";

fn find_go() -> Option<PathBuf> {
    process::find_on_path("go").or_else(|| {
        let go = Path::new(GO_FOLDER).join("go");
        process::is_executable(&go).then_some(go)
    })
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn create_venv(folder: &Path) -> Result<()> {
    let python = apt_program("python3", "python3")?;
    let create = || process::output(Command::new(&python).args(["-m", "venv"]).arg(folder));
    if create().is_err() {
        // Debian keeps the part of Python that makes virtual environments in a package of its own.
        apt_install("Python's venv module", "python3-venv")?;
        create()?;
    }
    Ok(())
}

fn update_package_lists() -> Result<()> {
    static UPDATED: OnceLock<()> = OnceLock::new();
    if UPDATED.get().is_none() {
        let mut update = tied("apt-get", DeathSignal::Terminate, None);
        process::run(update.args(["update", "--quiet"]))?;
        let _ = UPDATED.set(());
    }
    Ok(())
}

/// Keeps two commands from installing into the same folder at once. Unlocked when dropped.
fn lock(name: &str) -> Result<File> {
    let folder = workspace::tools_folder();
    fs::create_dir_all(&folder)?;
    let file = File::create(folder.join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}
