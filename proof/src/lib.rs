//! `cargo xtask prove`: the promises of the README held against real clients and real faults. Each prints its
//! figures and fails when one does not hold.

mod journal;
mod ledger;
mod line;
mod memory;
mod node;
mod order;
mod people;
mod promises;
mod reader;
mod retry;
mod sender;
mod sign_ins;
mod upgrade;
mod verdict;

use anyhow::Result;
use clap::Subcommand;

pub use line::Line;
pub use memory::Memory;
pub use order::{Order, Store};
pub use promises::Promises;
pub use sign_ins::SignIns;
pub use upgrade::Upgrade;

#[derive(Subcommand)]
pub enum Proof {
    /// One gap-free order and no lost write, under kill -9.
    Order(Order),
    /// The same on three instances behind Caddy: under kill -9 of each, a restart of Redis, and without Redis.
    Line(Line),
    /// How soon people learn of what they missed, see each other, are locked out and go on, and what restarts cost.
    Promises(Promises),
    /// Two releases side by side under load: the instances are replaced one by one, forward, back and forward again.
    Upgrade(Upgrade),
    /// How much memory a thousand connections take that hold back the last byte of what they say.
    Memory(Memory),
    /// How soon others sign in while one account, or twenty addresses, show passwords without end.
    SignIns(SignIns),
}

pub fn run(proof: &Proof) -> Result<()> {
    match proof {
        Proof::Order(order) => order::run(*order),
        Proof::Line(line) => line::run(*line),
        Proof::Promises(promises) => promises::run(*promises),
        Proof::Upgrade(upgrade) => upgrade::run(upgrade),
        Proof::Memory(memory) => memory::run(memory),
        Proof::SignIns(sign_ins) => sign_ins::run(*sign_ins),
    }
}
