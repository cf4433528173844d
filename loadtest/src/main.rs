//! `roost-loadtest SCENARIO`: the command line of the load generator.

use clap::Parser;
use roost_loadtest::{
    run::Options,
    scenario::{self, Scenario},
};
use std::{process::ExitCode, thread::available_parallelism};

#[derive(Parser)]
#[command(about = "Puts load on Roost, or on a peer, and prints what it took.")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    scenario: Scenario,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // As many threads as there are processors that this process may use.
    let threads = available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(scenario::run(
        &arguments.scenario,
        arguments.options.clone(),
    ))
}
