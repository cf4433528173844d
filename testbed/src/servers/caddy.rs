//! Caddy with the `caddy/Caddyfile` of this repository: from PATH when it is new enough, else built once with Go.

use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{Launch, Server, temporary_folder};
use crate::process::{self, DeathSignal, tied};
use crate::{interrupt, ports, roost, tools, workspace};

/// Gives the tests the path of the program.
pub const PROGRAM_VARIABLE: &str = "ROOST_TEST_CADDY";
const VERSION: &str = "2.11.9";
const MODULE: &str = "github.com/caddyserver/caddy/v2";
/// Earlier versions have no global `metrics`, and before 2.8 a reload drops every WebSocket.
const VERSION_MIN: (u32, u32) = (2, 9);

/// How long Caddy waits before it tries another instance, as the Caddyfile configures it.
const TRY_INTERVAL: Duration = Duration::from_millis(100);
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

type Environment = Vec<(&'static str, String)>;

/// The settings that the Caddyfile reads from the environment.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Addresses of instances, as `127.0.0.1:4000`.
    pub upstreams: Vec<String>,
    /// Where clients connect; any free port when there is none.
    pub port: Option<u16>,
    /// Proxies whose `X-Forwarded-For` is believed, separated by spaces.
    pub trusted_proxies: String,
}

/// A running Caddy on 127.0.0.1, with its admin address and its metrics on ports of their own.
pub struct Caddy {
    pub server: Server,
    program: PathBuf,
    admin: String,
    metrics_port: u16,
    environment: Arc<Mutex<Environment>>,
}

impl Caddy {
    pub fn start(options: &Options) -> Result<Self> {
        let program = program()?;
        let folder = temporary_folder()?;
        let port = options.port.map_or_else(ports::free_port, Ok)?;
        let metrics_port = ports::free_port()?;
        let admin = format!("127.0.0.1:{}", ports::free_port()?);
        let environment = Arc::new(Mutex::new(vec![
            (UPSTREAMS, options.upstreams.join(" ")),
            ("ROOST_CADDY_LISTEN", format!(":{port}")),
            ("ROOST_CADDY_BIND", "127.0.0.1".to_owned()),
            ("ROOST_CADDY_ADMIN", admin.clone()),
            ("ROOST_CADDY_METRICS_PORT", metrics_port.to_string()),
            (
                "ROOST_CADDY_TRUSTED_PROXIES",
                options.trusted_proxies.clone(),
            ),
            (
                "ROOST_CADDY_COOKIE_SECRET",
                uuid::Uuid::new_v4().simple().to_string(),
            ),
            // Otherwise Caddy leaves files in the home folder.
            ("XDG_DATA_HOME", folder.path().display().to_string()),
            ("XDG_CONFIG_HOME", folder.path().display().to_string()),
        ]));
        let launch = launch(program.clone(), metrics_port, Arc::clone(&environment));
        let mut server = Server::start_on(launch, folder, port)?;
        server.url = format!("http://127.0.0.1:{port}");
        server.version = format!("Caddy {}", version(&program)?);
        Ok(Self {
            server,
            program,
            admin,
            metrics_port,
            environment,
        })
    }

    pub fn url(&self) -> &str {
        &self.server.url
    }

    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_port)
    }

    /// Waits until Caddy answers after an instance was restarted. Its health checks find the instance within a second.
    pub fn wait_until_it_answers(&self) -> Result<()> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        while !self.answers_at_once() {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("Caddy does not find the instance");
            }
            thread::sleep(process::POLL);
        }
        Ok(())
    }

    /// Whether a request finds an instance without trying one that is not there.
    pub(crate) fn answers_at_once(&self) -> bool {
        let started = Instant::now();
        let answer = roost::get(self.server.port(), "/livez");
        answer.is_ok_and(|answer| answer.starts_with(roost::OK)) && started.elapsed() < TRY_INTERVAL
    }

    /// The body of its `/metrics`.
    pub fn metrics(&self) -> Result<String> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let answer = client.get(self.metrics_url()).send().await?;
            Ok(answer.error_for_status()?.text().await?)
        })
    }

    /// Writes another list of instances and has Caddy read it, as one does to add an instance.
    pub fn reload(&self, upstreams: &[String]) -> Result<()> {
        let environment = {
            let mut environment = self.environment.lock();
            for (name, value) in environment.iter_mut() {
                if *name == UPSTREAMS {
                    *value = upstreams.join(" ");
                }
            }
            environment.clone()
        };
        let mut reload = caddyfile_command(&self.program, "reload", environment);
        process::output(reload.args(["--address", &self.admin]))?;
        Ok(())
    }
}

const UPSTREAMS: &str = "ROOST_UPSTREAMS";

pub fn caddyfile() -> PathBuf {
    workspace::root().join("caddy/Caddyfile")
}

/// The path of a Caddy that is new enough.
pub fn program() -> Result<PathBuf> {
    if let Some(found) = process::find_on_path("caddy") {
        let version = version(&found)?;
        if is_new_enough(&version) {
            return Ok(found);
        }
        let (major, minor) = VERSION_MIN;
        eprintln!(
            "the caddy on PATH is {version}, and {major}.{minor} is needed: using {VERSION} instead"
        );
    }
    tools::go_program("caddy", &format!("{MODULE}/cmd/caddy"), VERSION)
}

fn launch(program: PathBuf, metrics_port: u16, environment: Arc<Mutex<Environment>>) -> Launch {
    Launch {
        name: "Caddy",
        command: Box::new(move |_, folder| {
            let environment = environment.lock();
            let mut command = tied(&program, DeathSignal::Kill, None);
            command.arg("run").args(caddyfile_arguments());
            command.envs(environment.iter().cloned());
            command.current_dir(folder.path());
            command
        }),
        is_ready: Box::new(move |_| {
            roost::get(metrics_port, "/metrics").is_ok_and(|answer| answer.starts_with(roost::OK))
        }),
        stop_signal: Signal::TERM,
        discard_signal: Signal::KILL,
    }
}

fn caddyfile_command(program: &Path, command: &str, environment: Environment) -> Command {
    let mut caddy = Command::new(program);
    caddy.arg(command).args(caddyfile_arguments());
    caddy.envs(environment);
    caddy
}

fn caddyfile_arguments() -> [String; 4] {
    let path = caddyfile().display().to_string();
    [
        "--config".to_owned(),
        path,
        "--adapter".to_owned(),
        "caddyfile".to_owned(),
    ]
}

/// `v2.11.9 h1:…`; a program that `go install` built says `unknown` and knows it only by its modules.
fn version(program: &Path) -> Result<String> {
    let said = process::output(Command::new(program).arg("version"))?;
    let built = process::output(Command::new(program).arg("build-info")).unwrap_or_default();
    read_version(&said, &built)
        .with_context(|| format!("{} does not tell its version", program.display()))
}

fn read_version(said: &str, built: &str) -> Option<String> {
    let of_module = built
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find_map(|words| {
            let at = words.iter().position(|word| *word == MODULE)?;
            words.get(at + 1).map(|word| (*word).to_owned())
        });
    let said = said.split_whitespace().next().map(str::to_owned);
    [said, of_module]
        .into_iter()
        .flatten()
        .map(|version| version.trim_start_matches('v').to_owned())
        .find(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= VERSION_MIN
}

/// An error, for CI, unless the Caddyfile is valid and formatted as `caddy fmt` writes it.
pub fn check_caddyfile() -> Result<()> {
    let program = program()?;
    let secret = (
        "ROOST_CADDY_COOKIE_SECRET",
        "of the check".replace(' ', "-"),
    );
    let mut validate = caddyfile_command(&program, "validate", vec![secret]);
    process::output(&mut validate)?;
    let mut format = Command::new(&program);
    let shown = process::output(format.args(["fmt", "--diff"]).arg(caddyfile()));
    if let Err(error) = shown {
        bail!("run `caddy fmt --overwrite caddy/Caddyfile`: {error:#}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_the_program_says_or_from_its_modules() {
        let built = "path\tgithub.com/caddyserver/caddy/v2/cmd/caddy\nmod\tgithub.com/caddyserver/caddy/v2\tv2.11.9\th1:x=\n";
        assert_eq!(
            read_version("v2.9.1 h1:abc=\n", "").as_deref(),
            Some("2.9.1")
        );
        assert_eq!(read_version("2.6.2\n", "").as_deref(), Some("2.6.2"));
        assert_eq!(read_version("unknown\n", built).as_deref(), Some("2.11.9"));
        assert_eq!(read_version("unknown\n", ""), None);
    }

    #[test]
    fn a_caddy_whose_reload_would_drop_every_socket_is_too_old() {
        assert!(!is_new_enough("2.6.2"));
        assert!(!is_new_enough("1.0.5"));
        assert!(is_new_enough("2.9.0-beta.3"));
        assert!(is_new_enough("2.11.9"));
        assert!(is_new_enough("3.0.0"));
    }
}
