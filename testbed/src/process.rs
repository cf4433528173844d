//! Starting other programs so that none of them outlives this process.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::interrupt;

/// The program that makes the kernel end another one when this process dies.
const TIE: &str = "setpriv";
/// How often a program is checked for its end.
pub const POLL: Duration = Duration::from_millis(20);
/// How long a program may take to end after it was asked to. A draining server takes up to 20 s.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A command for `program`, which the kernel ends with `death_signal` when this process dies from whatever cause.
///
/// The signal is bound to the *thread* that spawns it: spawn from one that lives as long as the program should.
/// `setpriv` sets it, because doing so in `pre_exec` would need unsafe code; `user` is for programs that refuse root.
/// It gets a process group of its own, so that a Ctrl-C in the terminal does not reach it before this process has
/// finished with it.
pub fn tied(program: impl AsRef<OsStr>, death_signal: DeathSignal, user: Option<&str>) -> Command {
    let mut command = Command::new(TIE);
    if let Some(user) = user {
        command.arg(format!("--reuid={user}"));
        command.arg(format!("--regid={user}"));
        command.arg("--init-groups");
    }
    command.args(["--pdeathsig", death_signal.name(), "--"]);
    command.arg(program);
    command.process_group(0).stdin(Stdio::null());
    for name in OF_OUR_OWN_PACKAGE {
        command.env_remove(name);
    }
    command
}

/// The variables with which cargo describes a program's own package to it. Build scripts watch these (ring's does):
/// another cargo that inherits them builds ring, and all that uses it, anew each time.
const OF_OUR_OWN_PACKAGE: [&str; 7] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// The signal that the kernel sends to a program when the process that started it dies.
#[derive(Clone, Copy, Debug)]
pub enum DeathSignal {
    Quit,
    Terminate,
    Kill,
}

impl DeathSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Quit => "QUIT",
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
        }
    }
}

/// Runs a program to its end with its output shown, and fails when it does. An interruption ends it and its children.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = display(command);
    eprintln!("+ {shown}");
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let status = wait(&mut child)?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Runs a program to its end and gives what it printed; its messages are part of the error when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = display(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, messages.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a child; on an interruption its whole process group is ended first.
pub fn wait(child: &mut Child) -> Result<ExitStatus> {
    wait_watching(child, || Ok(()))
}

/// Like `wait`. `check` is called again and again, and an error of it counts as an interruption.
pub fn wait_watching(
    child: &mut Child,
    mut check: impl FnMut() -> Result<()>,
) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Err(why) = interrupt::check().and_then(|()| check()) {
            signal_group(child, Signal::TERM);
            let status = wait_or_kill(child)?;
            return Err(why.context(describe(status)));
        }
        thread::sleep(POLL);
    }
}

/// Asks a child to end, waits for it, and kills it when it does not.
pub fn stop(child: &mut Child, politely: Signal) -> Result<ExitStatus> {
    signal(child, politely)?;
    // A process that is stopped would not handle the signal.
    signal(child, Signal::CONT)?;
    wait_or_kill(child)
}

/// Waits for a child that was asked to end, and kills it when it does not.
pub fn wait_or_kill(child: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + STOP_PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    Ok(child.wait()?)
}

/// Git, in this repository.
pub fn git(arguments: &[&str]) -> Command {
    let mut command = tied("git", DeathSignal::Terminate, None);
    command
        .args(arguments)
        .current_dir(crate::workspace::root());
    command
}

/// The full path of a program on PATH.
pub fn find_on_path(program: &str) -> Option<std::path::PathBuf> {
    let path = crate::workspace::environment("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// How a program ended, for a sentence.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// A command as a person would type it, without `setpriv`.
pub fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let own = words.iter().position(|word| word == "--");
    let own = own.filter(|_| command.get_program() == TIE);
    words[own.map_or(0, |separator| separator + 1)..].join(" ")
}

/// Whether any process, child or not, is gone, or a zombie that process 1 has not collected yet.
pub fn has_ended(process_id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat"));
    // The state follows the program's name, which stands in brackets and may contain brackets.
    stat.map_or(true, |stat| {
        let (_, state) = stat.rsplit_once(')').unwrap_or_default();
        state.trim_start().starts_with('Z')
    })
}

/// Sends a signal and does not wait for its effect. A child that has ended gets none.
pub fn signal(child: &mut Child, signal: Signal) -> Result<()> {
    // After a child was waited for, its id may belong to another process.
    if child.try_wait()?.is_none()
        && let Some(id) = id(child)
    {
        let _ = rustix::process::kill_process(id, signal);
    }
    Ok(())
}

fn signal_group(child: &Child, signal: Signal) {
    if let Some(id) = id(child) {
        let _ = rustix::process::kill_process_group(id, signal);
    }
}

fn id(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
