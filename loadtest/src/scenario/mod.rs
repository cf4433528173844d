//! The scenarios, one file each, and what several of them do alike.

pub mod board;
pub mod chat;
pub mod churn;
mod deliveries;
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
    report::Report,
    rooms::Room,
    run::{Options, Run},
    sequence::Faults,
    socket::{Call, Reader, Socket, Stream},
};
use anyhow::{Result, ensure};
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
    ensure!(
        report.is_whole(),
        "nothing was done in the measured time: {:?}",
        run.recorder.errors()
    );
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

/// The same people share so many rooms each: the first group the first room, the second the second, and then again from the first.
fn in_rooms_together(rooms: usize, members: usize, rooms_each: usize) -> Vec<Vec<usize>> {
    let groups = in_one_room_each(rooms.div_ceil(rooms_each), members);
    groups.into_iter().cycle().take(rooms).collect()
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
    let refused: HashSet<(RoomId, String, u64)> = readers
        .iter()
        .flat_map(|reader| {
            let author = reader.author.to_string();
            let key = move |call: &Call| (call.room, author.clone(), call.mark.number);
            reader.refused.iter().map(key)
        })
        .collect();
    let mut all = Faults::default();
    for sent in sent {
        let is_refused = |number| refused.contains(&(sent.room, sent.author.clone(), number));
        for reader in &sent.readers {
            let reader = &readers[*reader];
            all += reader.faults(sent.room, sent.stream, &sent.author, sent.count, is_refused);
        }
    }
    all
}

/// Adds what went wrong with writes and with sockets. `missing`: what a write is called that did not come.
fn add_faults(report: &mut Report, run: &Run, missing: &str, readers: &[Reader], sent: &[Sent]) {
    let Faults {
        lost,
        doubled,
        reordered,
    } = faults(readers, sent);
    report.add_count(missing, lost);
    report.add_count("doubled", doubled);
    report.add_count("reordered", reordered);
    report.add_count("errors", run.recorder.errors().values().sum());
    let unanswered = readers.iter().map(Reader::unanswered).sum::<usize>();
    report.add_count("unanswered", unanswered as u64);
    let closed = readers.iter().filter(|reader| reader.closed_by_the_server);
    report.add_count("closed by the server", closed.count() as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{recorder::Recorder, socket::Mark};
    use roost_schema::UserId;
    use std::sync::Arc;

    #[test]
    fn a_refusal_excuses_its_own_author_only() {
        let recorder = Arc::new(Recorder::default());
        let room = RoomId::generate();
        let (ann, bob) = (UserId::generate(), UserId::generate());
        let mut readers = [ann, bob].map(|author| Reader::new(&recorder, author));
        let mark = Mark { number: 1, due: 0 };
        readers[0].refused.push(Call { room, mark });
        let sent = [ann, bob].map(|author| Sent {
            room,
            stream: Stream::Kept,
            author: author.to_string(),
            count: 1,
            readers: vec![0, 1],
        });
        // Bob's is missing with both, Ann's was refused.
        assert_eq!(faults(&readers, &sent).lost, 2);
    }
}
