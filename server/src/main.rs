//! The program `roost`: its arguments, its signals, its exit code.

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};
use roost_schema::RoomId;
use roost_server::{
    boot,
    config::{self, Config, Loaded, Problems, reachable},
    doctor,
    store::journal::Finding,
    telemetry, transport,
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// The system's own keeps most of what a burst of connections took for good: its threads' arenas
/// are given back only from their ends.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted realtime collaboration backend. Without a command it serves.
#[derive(Parser)]
#[command(name = "roost", version)]
struct Arguments {
    /// The configuration file; `roost.toml` when there is one.
    #[arg(long, global = true, env = "ROOST_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT. This is the default.
    Serve,
    /// Brings the database to this release and ends.
    Migrate,
    /// Explains the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Asks the instance of this machine whether it is ready; exits with 0 or 1.
    Health {
        /// How many seconds to wait for the answer.
        #[arg(long, default_value_t = 2)]
        timeout_seconds: u64,
    },
    /// Reaches everything the configuration names and says what to do about what is not as it should
    /// be; changes nothing. Exits with 1 when there is a problem.
    Doctor {
        /// Prints one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Prints the contracts clients rely on.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Tends the room journal.
    #[command(subcommand)]
    Journal(JournalCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Says what is wrong with the configuration, one sentence per problem.
    Check,
    /// Prints every key with its value and where that comes from; secrets masked.
    Show,
    /// Prints `.env.example`.
    Example,
    /// Prints `docs/configuration.md`.
    Reference,
}

#[derive(Subcommand)]
enum SchemaCommand {
    /// Prints one of them.
    Export { contract: Contract },
}

#[derive(Clone, Copy, ValueEnum)]
enum Contract {
    Openapi,
    Graphql,
    Errors,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// After a restore: makes clients load their rooms anew, because positions they hold may name
    /// entries that are gone. Stop the server first.
    NewEpoch,
    /// Prints every entry of these rooms, one line of JSON each. Stop the server first.
    Dump {
        #[arg(required = true)]
        rooms: Vec<RoomId>,
    },
    /// Looks through these rooms, or all, for entries that are not as they were written: one line for each. Exits with
    /// 1 when there is one. With the journal in a file, stop the server first.
    Verify { rooms: Vec<RoomId> },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let load = || config::load(arguments.config.as_deref());
    match arguments.command.as_ref().unwrap_or(&Command::Serve) {
        Command::Serve => serve(load()?.config),
        Command::Migrate => Runtime::new()?.block_on(boot::migrate(&load()?.config)),
        Command::Config(ConfigCommand::Check) => {
            load()?;
            print("the configuration is good\n")
        }
        Command::Config(ConfigCommand::Show) => print(&config::show(&load()?)),
        Command::Config(ConfigCommand::Example) => print(&config::example()),
        Command::Config(ConfigCommand::Reference) => print(&config::reference()),
        Command::Doctor { json } => examine(&load(), *json),
        Command::Health { timeout_seconds } => {
            let timeout = Duration::from_secs((*timeout_seconds).max(1));
            ask_readiness(load()?.config.listen, timeout)
        }
        Command::Schema(SchemaCommand::Export { contract }) => print(&match contract {
            Contract::Openapi => transport::openapi_json(),
            Contract::Graphql => transport::graphql_sdl(),
            Contract::Errors => transport::error_page(),
        }),
        Command::Journal(JournalCommand::NewEpoch) => {
            let epoch = Runtime::new()?.block_on(boot::change_epoch(&load()?.config))?;
            print(&format!("the journal's epoch is now {epoch}\n"))
        }
        Command::Journal(JournalCommand::Dump { rooms }) => {
            Runtime::new()?.block_on(boot::dump_journal(&load()?.config, rooms, print))
        }
        Command::Journal(JournalCommand::Verify { rooms }) => verify(&load()?.config, rooms),
    }
}

fn verify(config: &Config, rooms: &[RoomId]) -> anyhow::Result<()> {
    let mut findings = 0_u64;
    let report = |Finding { room, seq, problem }: Finding| {
        findings += 1;
        // A closed pipe takes the lines, and the exit code says the rest.
        let _ = print(&format!("room {room}, entry {seq}: {problem}\n"));
    };
    let audited = Runtime::new()?.block_on(boot::audit_journal(config, rooms, report))?;
    print(&format!(
        "{} entries of {} rooms were read; {} are of a release that kept no hashes, {} are superseded and still \
         marked current\n",
        audited.entries, audited.rooms, audited.unsealed, audited.left_current
    ))?;
    if findings > 0 {
        bail!("{findings} findings; docs/operations.md says what to do (A room is corrupt)");
    }
    Ok(())
}

fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::init_logs(&config)?;
    let runtime = Runtime::new()?;
    let end = runtime.block_on(async {
        // Before anything else: the first process of a container ignores what it has no handler for.
        let mut signals = Signals::new()?;
        let server = tokio::select! {
            server = boot::boot(config) => server?,
            () = signals.next() => return Ok(()),
        };
        let stop = server.stopper();
        tokio::select! {
            end = server.serve() => end,
            failure = stop_on_signals(signals, stop) => failure,
        }
    });
    runtime.shutdown_timeout(boot::RUNTIME_TIMEOUT);
    end
}

/// The first SIGTERM or SIGINT stops in order, a second one at once.
async fn stop_on_signals(mut signals: Signals, stop: CancellationToken) -> anyhow::Result<()> {
    signals.next().await;
    stop.cancel();
    signals.next().await;
    bail!("stopped at once by a second signal")
}

/// What asks this process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn examine(loaded: &Result<Loaded, Problems>, json: bool) -> anyhow::Result<()> {
    let report = Runtime::new()?.block_on(doctor::examine(loaded));
    print(&if json {
        report.json()?
    } else {
        report.to_string()
    })?;
    match report.problems() {
        0 => Ok(()),
        1 => bail!("there is a problem"),
        problems => bail!("there are {problems} problems"),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// A request by hand: a health check must cost next to nothing.
fn ask_readiness(listen: SocketAddr, timeout: Duration) -> anyhow::Result<()> {
    let address = reachable(listen);
    let mut stream = TcpStream::connect_timeout(&address, timeout)
        .with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("{address} does not answer"))?;
    if answer.starts_with("HTTP/1.1 200") {
        return print("ready\n");
    }
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    bail!("not ready: {body}")
}
