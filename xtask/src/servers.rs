//! `cargo xtask servers`: the servers of the tests, kept running while a person runs tests by hand.

use std::thread;

use anyhow::Result;
use roost_testbed::servers::Servers;
use roost_testbed::{interrupt, process};

/// Prints the variables that tell tests where the servers are, and keeps the servers until Ctrl-C.
pub fn run() -> Result<()> {
    let mut servers = Servers::start()?;
    println!("# {}", servers.describe());
    for (name, value) in servers.environment() {
        println!("export {name}='{value}'");
    }
    while !interrupt::requested() {
        servers.check_alive()?;
        thread::sleep(process::POLL);
    }
    Ok(())
}
