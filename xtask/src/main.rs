//! `cargo xtask COMMAND`: the command line. Each command is one file beside this one.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{interrupt, servers, test};

#[derive(Parser)]
#[command(about = "Every developer command of Roost; CI calls only these.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts PostgreSQL and a MongoDB-wire server for tests and keeps them until Ctrl-C.
    Servers,
    /// Runs every test of the workspace against real servers; further arguments go to `cargo test`.
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
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
        Command::Servers => servers::run_until_interrupted(),
        Command::Test { arguments } => test::run(&arguments),
    }
}
