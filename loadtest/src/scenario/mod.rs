//! The scenarios, one file each, and what several of them do alike.

pub mod board;
pub mod chat;
pub mod churn;
pub mod fanout;
pub mod graphql;
pub mod idle;
mod requests;
pub mod rest;
pub mod slow;
pub mod soak;
pub mod storm;
mod writers;

use crate::{
    rooms::Room,
    run::{Options, Run},
    sequence::Faults,
    socket::{Reader, Socket, Stream},
};
use anyhow::Result;
use clap::Subcommand;
use futures::future::try_join_all;
use roost_schema::RoomId;
use std::collections::HashSet;

#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// One person writes in each room, everybody in it reads.
    Fanout(fanout::Fanout),
    /// Sockets that do nothing: what each costs to open and to keep.
    Idle(idle::Idle),
    /// All sockets are cut at once by a TCP reset, and come back at once, while people write.
    Storm(storm::Storm),
    /// People come, stay for some seconds, and leave.
    Churn(churn::Churn),
    /// Everybody in one room drags things and points at them.
    Board(board::Board),
    /// People in small rooms talk at random times.
    Chat(chat::Chat),
    /// REST: sign-ins, reads, pages and writes, one after the other.
    Rest(rest::Rest),
    /// GraphQL: reads, pages and writes, one after the other.
    Graphql(graphql::Graphql),
    /// Some readers stop reading; the others must not notice.
    Slow(slow::Slow),
    /// A chat for a long time: does the server's memory grow?
    Soak(soak::Soak),
    /// Registers people and keeps their sessions in the file of --sessions.
    Prepare(Prepare),
}

#[derive(Clone, Debug, clap::Args)]
pub struct Prepare {
    #[arg(long, default_value_t = 1_000)]
    pub people: usize,
}

/// Runs a scenario, prints its report and writes it where the options say.
pub async fn run(scenario: &Scenario, options: Options) -> Result<()> {
    let run = Run::begin(options).await?;
    let report = match scenario {
        Scenario::Fanout(fanout) => fanout.run(&run).await?,
        Scenario::Idle(idle) => idle.run(&run).await?,
        Scenario::Storm(storm) => storm.run(&run).await?,
        Scenario::Churn(churn) => churn.run(&run).await?,
        Scenario::Board(board) => board.run(&run).await?,
        Scenario::Chat(chat) => chat.run(&run).await?,
        Scenario::Rest(rest) => rest.run(&run).await?,
        Scenario::Graphql(graphql) => graphql.run(&run).await?,
        Scenario::Slow(slow) => slow.run(&run).await?,
        Scenario::Soak(soak) => soak.run(&run).await?,
        Scenario::Prepare(prepare) => {
            run.people(prepare.people).await?;
            return Ok(());
        }
    };
    print!("{report}");
    for (why, count) in run.recorder.errors() {
        println!("  error {why:<30}{count:>14}");
    }
    report.write(&run.options, &run.recorder)
}

/// People in rooms of this size, each in one.
fn in_one_room_each(rooms: usize, members: usize) -> Vec<Vec<usize>> {
    let members = |room: usize| (room * members..(room + 1) * members).collect();
    (0..rooms).map(members).collect()
}

/// Of each person, the ids of their rooms.
fn rooms_of(people: usize, rooms: &[Room]) -> Vec<Vec<RoomId>> {
    let mut all = vec![Vec::new(); people];
    for room in rooms {
        for member in &room.members {
            all[*member].push(room.id);
        }
    }
    all
}

/// Closes all sockets; gives what each read.
async fn finish(sockets: Vec<Socket>) -> Result<Vec<Reader>> {
    try_join_all(sockets.into_iter().map(Socket::finish)).await
}

/// What a write that did not come is called where a later one supersedes it.
const SUPERSEDED: &str = "superseded or lost";

/// How many writes an author made in a room.
#[derive(Clone, Debug)]
struct Sent {
    room: RoomId,
    stream: Stream,
    author: String,
    count: u64,
    /// The places of those who should have them all.
    readers: Vec<usize>,
}

fn written(sent: &[Sent]) -> u64 {
    sent.iter().map(|sent| sent.count).sum()
}

/// Two people share each room: a room of one is no conversation.
fn pairs(people: usize) -> Vec<Vec<usize>> {
    let pair = |person: usize| vec![person, (person + 1) % people];
    (0..people).map(pair).collect()
}

/// Holds what each reader received against what was sent.
fn faults(readers: &[Reader], sent: &[Sent]) -> Faults {
    let refused: HashSet<(RoomId, u64)> = readers
        .iter()
        .flat_map(|reader| &reader.refused)
        .map(|call| (call.room, call.mark.number))
        .collect();
    let mut all = Faults::default();
    for sent in sent {
        for reader in &sent.readers {
            let is_refused = |number| refused.contains(&(sent.room, number));
            all += readers[*reader].faults(
                sent.room,
                sent.stream,
                &sent.author,
                sent.count,
                is_refused,
            );
        }
    }
    all
}
