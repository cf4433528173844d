//! Sockets that do nothing: what each costs to open and to keep.

use super::{finish, in_rooms_together, rooms_of};
use crate::{
    people::Person,
    recorder::Timing,
    report::Report,
    rooms,
    run::{Run, settle},
};
use anyhow::Result;
use clap::Args;
use roost_schema::RoomId;
use std::time::Duration;

/// A ping of each socket, at least, of servers that ping as seldom as Engine.IO does by itself.
const SECONDS: u64 = 25;
const MEMBERS: usize = 10;

#[derive(Clone, Debug, Args)]
pub struct Idle {
    /// Each of a person of its own, in two rooms of ten.
    #[arg(long, default_value_t = 10_000)]
    pub sockets: usize,
    /// Instead, each in so many rooms, which it shares with somebody who is not there.
    #[arg(long, value_name = "ROOMS")]
    pub alone_in: Option<usize>,
}

impl Idle {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let (people, joined) = match self.alone_in {
            Some(rooms_each) => self.alone(run, rooms_each).await?,
            None => self.together(run).await?,
        };
        run.recorder.begin();
        let before = run.snapshot()?;
        let sockets = run.open(&people, &joined).await?;
        let opening = before.elapsed();
        settle().await;
        let opened = run.snapshot()?.since(&before);
        let kept = run.measure(Timing::Connect, run.duration(SECONDS)).await?;
        kept.judge(run)?;
        let readers = finish(sockets).await?;

        let count = people.len() as u64;
        let mut report = Report::new(format!("idle {count} sockets"));
        report.add_rate("connect", count, opening);
        report.add_costs(&opened, "connect", count);
        report.add_memory(&opened, "socket", people.len());
        let is_long = kept.took >= Duration::from_secs(SECONDS);
        for (name, usage) in kept.usages.iter().filter(|_| is_long) {
            let share = usage.cpu.as_secs_f64() / kept.took.as_secs_f64();
            report.add(format!("{name} CPU while idle"), share * 1e3, "ms/s");
        }
        report.add_times(&run.recorder, Timing::Connect);
        let lost = readers.iter().filter(|reader| reader.closed_by_the_server);
        report.add_count("closed by the server", lost.count() as u64);
        Ok(report)
    }

    async fn together(&self, run: &Run) -> Result<(Vec<Person>, Vec<Vec<RoomId>>)> {
        let people = run.people(self.sockets).await?;
        let rooms = rooms::open(&people, in_two_rooms_each(people.len())).await?;
        let joined = rooms_of(people.len(), &rooms);
        run.warm(&people, &joined).await?;
        Ok((people, joined))
    }

    /// The first of each pair. Nothing is warmed, because opening so many rooms once more takes minutes.
    async fn alone(&self, run: &Run, rooms_each: usize) -> Result<(Vec<Person>, Vec<Vec<RoomId>>)> {
        let people = run.people(2 * self.sockets).await?;
        let memberships = in_rooms_together(self.sockets * rooms_each, 2, rooms_each);
        let rooms = rooms::open(&people, memberships).await?;
        let joined = rooms_of(people.len(), &rooms);
        let pairs = people.into_iter().zip(joined);
        Ok(pairs.step_by(2).unzip())
    }
}

/// Rooms of ten: of neighbours, and of people who are ten apart.
fn in_two_rooms_each(people: usize) -> Vec<Vec<usize>> {
    const SQUARE: usize = MEMBERS * MEMBERS;
    let all: Vec<usize> = (0..people).collect();
    let neighbours = all.chunks(MEMBERS).map(<[usize]>::to_vec);
    let apart = all.chunks(SQUARE).flat_map(|square| {
        let row = |first: usize| {
            square
                .iter()
                .skip(first)
                .step_by(MEMBERS)
                .copied()
                .collect()
        };
        (0..MEMBERS.min(square.len()))
            .map(row)
            .collect::<Vec<Vec<usize>>>()
    });
    neighbours.chain(apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_in_two_different_rooms() {
        for people in [7, 100, 250] {
            let rooms = in_two_rooms_each(people);
            for person in 0..people {
                let own = rooms.iter().filter(|room| room.contains(&person));
                assert_eq!(own.count(), 2, "{person} of {people}");
            }
            assert!(rooms.iter().all(|room| room.len() <= MEMBERS));
        }
    }
}
