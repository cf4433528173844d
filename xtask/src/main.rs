//! `cargo xtask COMMAND`: the command line. Each command is one file beside this one.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roost_proof::Proof;
use roost_testbed::interrupt;
use xtask::{assets, bench, ci, compat, conformance, containers, schema, servers, test, up};

#[derive(Parser)]
#[command(about = "Every developer command of Roost; CI calls only these.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the server with its page, serves it with its data in ./data, and prints where to look.
    Up(up::Arguments),
    /// Starts PostgreSQL, a MongoDB-wire server and Redis for tests and keeps them until Ctrl-C.
    Servers,
    /// Runs every test of the workspace against real servers; further arguments go to `cargo test`.
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Writes the committed files that the server generates.
    Schema {
        /// Only says which are stale.
        #[arg(long)]
        check: bool,
    },
    /// Proves a promise of the README with real clients and real faults.
    #[command(subcommand)]
    Prove(Proof),
    /// What Roost costs, beside its peers and beside itself as it was; figures, no verdict.
    Bench(bench::Arguments),
    /// Golden files: what this release keeps and says, for the releases to come.
    #[command(subcommand)]
    Compat(compat::Compat),
    /// Drives the server with clients of other projects.
    Conformance(conformance::Arguments),
    /// Checks the Dockerfile and docker-compose.yml as far as one can without a container engine.
    Containers,
    /// Installs the browser bundles of the page and of GraphiQL.
    Assets,
    /// Runs everything that CI runs.
    Ci,
}

fn main() -> ExitCode {
    match interrupt::watch().and_then(|()| run(Arguments::parse().command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(arguments) => up::run(&arguments),
        Command::Servers => servers::run(),
        Command::Test { arguments } => test::run(&arguments),
        Command::Schema { check } => schema::run(check),
        Command::Prove(proof) => roost_proof::run(&proof),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Compat(compat) => compat::run(&compat),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Containers => containers::run(),
        Command::Assets => assets::run(),
        Command::Ci => ci::run(),
    }
}
