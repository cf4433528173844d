//! `cargo xtask prove order`: every acknowledged write is kept once, and every reader sees one order, while the server
//! is killed repeatedly.
//!
//! Senders write over REST, GraphQL and Socket.IO. Readers follow by Socket.IO, GraphQL subscription and SSE. Some of
//! both are stock JavaScript clients. Each has its own 127.x address, and the limits are the defaults. At the end all
//! results are compared with the journal.

use super::{
    journal, node,
    people::{Evidence, People, Plan},
    verdict,
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use roost_testbed::{
    roost::{self, Roost},
    servers::{mongodb, postgres},
    tools, workspace,
};
use std::time::Duration;

#[derive(Args, Clone, Copy)]
pub struct Order {
    /// How many writes in all, half of them in one room.
    #[arg(long, default_value_t = 10_000)]
    pub writes: u64,
    /// How often the server is killed meanwhile.
    #[arg(long, default_value_t = 5)]
    pub kills: u64,
    /// Only on this store; without it on all three, one after the other.
    #[arg(long)]
    pub store: Option<Store>,
    /// Uses the unoptimised server.
    #[arg(long)]
    pub debug: bool,
}

impl Order {
    /// Small enough to be part of every test run.
    pub const SMALL: Self = Self {
        writes: 300,
        kills: 1,
        store: Some(Store::Sqlite),
        debug: true,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Store {
    Sqlite,
    Postgres,
    Mongodb,
}

pub(super) fn run(order: Order) -> Result<()> {
    let stores = match order.store {
        Some(store) => vec![store],
        None => Store::value_variants().to_vec(),
    };
    tools::npm_ci(&workspace::root().join("conformance"))?;
    let program = roost::build(order.debug)?;
    for store in stores {
        println!(
            "== prove order on {store:?}: {} writes, {} kills ==",
            order.writes, order.kills
        );
        prove_on(order, store, &program).with_context(|| format!("not proven on {store:?}"))?;
    }
    Ok(())
}

fn prove_on(order: Order, store: Store, program: &std::path::Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sqlite = format!("sqlite:{}/roost.db?mode=rwc", folder.path().display());
    // Kept until the end of the run: dropping a server stops it.
    let postgres = (store == Store::Postgres)
        .then(postgres::start)
        .transpose()?;
    let mongodb = (store == Store::Mongodb).then(mongodb::start).transpose()?;
    let database_url = postgres
        .as_ref()
        .map_or(sqlite, |server| server.url.clone() + "postgres");
    let journal_url = mongodb
        .as_ref()
        .map_or(Ok(String::new()), |server| server.database_url("prove"))?;
    let mut roost = Roost::start(program, folder.path(), &database_url, &journal_url)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let evidence = runtime.block_on(gather(order, &mut roost))?;
    roost.stop()?;
    let kept = journal::read(&roost, &evidence.rooms)?;
    verdict::judge(&evidence, &kept)?;
    println!("proven");
    Ok(())
}

/// Kills the server at even shares of the writes.
async fn gather(order: Order, roost: &mut Roost) -> Result<Evidence> {
    let plan = Plan {
        writes: order.writes,
        sole_writes: 0,
        spread: Duration::ZERO,
        script_pace: node::PACE,
    };
    let mut people = People::start(&roost.url(), plan).await?;
    for kill in 1..=order.kills {
        let share = order.writes * kill / (order.kills + 1);
        let unanswered = people.reach(share).await?;
        roost.kill_nine()?;
        println!("kill -9 after {share} writes with {unanswered} unanswered");
        roost.restart()?;
    }
    people.finish().await
}
