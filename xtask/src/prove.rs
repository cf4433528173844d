//! `cargo xtask prove order`: every acknowledged write is kept, once, and every reader sees one order,
//! while the server is killed again and again.
//!
//! Senders write over REST, GraphQL and Socket.IO, readers follow by Socket.IO, GraphQL subscription and
//! SSE; some of each are stock JavaScript clients. Each has its own 127.x address, and the limits stand at
//! their defaults. At the end the journal itself is read and everything is held against it.

mod journal;
mod ledger;
mod node;
mod reader;
mod sender;
mod verdict;

use crate::{
    interrupt,
    roost::{self, Roost},
    servers::{mongodb, postgres},
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use ledger::Ledger;
use node::Node;
use roost_client::{Client, Endpoint};
use roost_schema::{OpenConversation, Register, RoomId, Secret, Seq};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

const SENDERS: usize = 20;
const JAVASCRIPT_SENDERS: usize = 3;
const READERS: usize = 30;
const JAVASCRIPT_READERS: usize = 6;
/// Besides the one hot room that takes half of the writes.
const QUIET_ROOMS: usize = 50;
/// A kill waits until at least this many writes have no answer.
const UNANSWERED_MIN: u64 = 10;
/// The whole run gives up after this long.
const RUN_MAX: Duration = Duration::from_mins(15);
/// How long readers may take to catch up after the last acknowledgement.
const CATCH_UP_MAX: Duration = Duration::from_mins(1);

#[derive(Subcommand)]
pub enum Proof {
    /// One gap-free order and no lost write, under kill -9.
    Order(Order),
}

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

pub fn run(proof: &Proof) -> Result<()> {
    let Proof::Order(order) = proof;
    let stores = match order.store {
        Some(store) => vec![store],
        None => Store::value_variants().to_vec(),
    };
    crate::tools::npm_ci(&crate::workspace::root().join("conformance"))?;
    let program = roost::build(order.debug)?;
    for store in stores {
        println!(
            "== prove order on {store:?}: {} writes, {} kills ==",
            order.writes, order.kills
        );
        prove_on(*order, store, &program).with_context(|| format!("not proven on {store:?}"))?;
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
    verdict::judge(&evidence, &kept)
}

/// What the run saw, to be held against the journal.
struct Evidence {
    pub rooms: Vec<RoomId>,
    pub ledger: Arc<Ledger>,
    pub readings: Vec<reader::Reading>,
    pub unanswered_at_kill: Vec<u64>,
    pub elapsed: Duration,
}

async fn gather(order: Order, roost: &mut Roost) -> Result<Evidence> {
    let endpoint = Endpoint::new(&roost.url())?;
    let people = register(&endpoint).await?;
    let (owner, people) = people.split_first().context("nobody registered")?;
    let rooms = make_rooms(owner, people).await?;
    let ledger = Arc::new(Ledger::new(order.writes, rooms.clone()));
    let started = Instant::now();

    let (sender_people, reader_people) = people.split_at(SENDERS);
    let (script_senders, own_senders) = sender_people.split_at(JAVASCRIPT_SENDERS);
    let (script_readers, own_readers) = reader_people.split_at(JAVASCRIPT_READERS);
    let script_writes = order.writes * JAVASCRIPT_SENDERS as u64 / SENDERS as u64;
    ledger.reserve(script_writes);
    let mut node = Node::start(
        &roost.url(),
        script_senders,
        script_readers,
        &rooms,
        script_writes,
    )
    .await?;
    let readers = reader::start(own_readers, &rooms, &ledger);
    let mut senders = JoinSet::new();
    for (number, client) in own_senders.iter().enumerate() {
        sender::start(&mut senders, number, client, &ledger);
    }

    let unanswered_at_kill = kill_along(order, roost, &ledger, &mut node).await?;
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    node.wait_for_senders(&ledger, RUN_MAX).await?;
    let heads = read_heads(owner, &rooms).await?;
    let mut readings = readers.finish(&heads, CATCH_UP_MAX).await?;
    readings.extend(node.finish(&heads, CATCH_UP_MAX).await?);
    Ok(Evidence {
        rooms,
        ledger,
        readings,
        unanswered_at_kill,
        elapsed: started.elapsed(),
    })
}

/// Kills the server at even shares of the writes, each time with enough of them unanswered.
async fn kill_along(
    order: Order,
    roost: &mut Roost,
    ledger: &Ledger,
    node: &mut Node,
) -> Result<Vec<u64>> {
    let started = Instant::now();
    let mut unanswered_at_kill = Vec::new();
    while unanswered_at_kill.len() < usize::try_from(order.kills)? {
        let share = order.writes * (unanswered_at_kill.len() as u64 + 1) / (order.kills + 1);
        while ledger.acknowledged() + node.acknowledged()? < share
            || ledger.unanswered() < UNANSWERED_MIN
        {
            if started.elapsed() > RUN_MAX {
                bail!(
                    "no progress: {} of {} writes",
                    ledger.acknowledged(),
                    order.writes
                );
            }
            interrupt::check()?;
            sleep(Duration::from_millis(1)).await;
        }
        let unanswered = ledger.unanswered();
        roost.kill_nine()?;
        println!("kill -9 after {share} writes with {unanswered} unanswered");
        unanswered_at_kill.push(unanswered);
        roost.restart()?;
    }
    Ok(unanswered_at_kill)
}

/// Each client is a person with an address of its own.
async fn register(endpoint: &Endpoint) -> Result<Vec<Client>> {
    let mut people = Vec::new();
    for number in 0..=SENDERS + READERS {
        let last = u8::try_from(number + 1)?;
        let own = endpoint.from_address(IpAddr::V4(Ipv4Addr::new(127, 7, 0, last)))?;
        let input = Register {
            email: format!("person-{number}@example.com"),
            password: Secret::new("correct horse battery"),
            name: format!("Person {number}"),
            op_id: None,
        };
        people.push(own.register(&input).await.context("cannot register")?);
    }
    Ok(people)
}

/// The hot room first, then the quiet ones; everybody is a member of each.
async fn make_rooms(owner: &Client, people: &[Client]) -> Result<Vec<RoomId>> {
    let others: Vec<_> = people.iter().map(Client::user_id).collect();
    let mut rooms = Vec::new();
    for number in 0..=QUIET_ROOMS {
        let input = OpenConversation {
            user_ids: others.clone(),
            title: Some(format!("Room {number}")),
            op_id: None,
        };
        let room = owner.open_conversation(&input).await;
        rooms.push(room.context("cannot open a room")?.id);
    }
    Ok(rooms)
}

async fn read_heads(client: &Client, rooms: &[RoomId]) -> Result<HashMap<RoomId, Seq>> {
    let mut heads = HashMap::new();
    for room in rooms {
        let mut after = None;
        let head = loop {
            let frame = client.list_events(*room, after).await?;
            if frame.live {
                break frame.position.seq;
            }
            after = Some(frame.position);
        };
        heads.insert(*room, head);
    }
    Ok(heads)
}
