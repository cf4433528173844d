//! One person writes in each room, everybody in it reads: what a delivery costs.

use super::{
    SUPERSEDED,
    deliveries::Deliveries,
    in_rooms_together, rooms_of,
    writers::{What, Who, Writers},
};
use crate::{
    recorder::Timing,
    report::Report,
    rooms,
    run::{Run, settle},
};
use anyhow::{Result, ensure};
use clap::Args;

const SECONDS: u64 = 10;

#[derive(Clone, Debug, Args)]
pub struct Fanout {
    #[arg(long, default_value_t = 100)]
    pub rooms: usize,
    /// People in each room, the one who writes included.
    #[arg(long, default_value_t = 10)]
    pub members: usize,
    /// Rooms that the same people are in together.
    #[arg(long, default_value_t = 1)]
    pub rooms_each: usize,
    /// So many different people, each with as many sockets as it takes; without it, one for each socket.
    #[arg(long)]
    pub people: Option<usize>,
    /// Writes a second in each room.
    #[arg(long, default_value_t = 10.0)]
    pub rate: f64,
    /// Messages, which are kept and acknowledged, instead of pointers, which are not.
    #[arg(long)]
    pub durable: bool,
}

impl Fanout {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        ensure!(self.members > 1, "a room without readers delivers nothing");
        ensure!(self.rooms_each > 0, "everybody is in one room at least");
        let groups = self.rooms.div_ceil(self.rooms_each);
        let count = groups * self.members;
        let different = self.people.unwrap_or(count).min(count);
        ensure!(
            different.is_multiple_of(self.members),
            "as many people as whole rooms have: nobody is in a room twice"
        );
        let people = run.people(different).await?;
        let people: Vec<_> = people.into_iter().cycle().take(count).collect();
        let memberships = in_rooms_together(self.rooms, self.members, self.rooms_each);
        let rooms = rooms::open(&people, memberships).await?;
        let joined = rooms_of(people.len(), &rooms);
        run.warm(&people, &joined).await?;
        let before = run.snapshot()?;
        let sockets = run.open(&people, &joined).await?;
        settle().await;
        let opened = run.snapshot()?.since(&before);
        let what = if self.durable {
            What::Message
        } else {
            What::Cursor
        };
        let rooms_count = u32::try_from(self.rooms)?;
        let rate = self.rate * f64::from(rooms_count);
        let writers = Writers::start(what, Who::Owner, rate, &people, &rooms, &sockets);
        let duration = run.duration(SECONDS);
        let deliveries = Deliveries::measure(run, writers, sockets, duration).await?;

        let kind = if self.durable { "durable" } else { "ephemeral" };
        let (rooms, members) = (self.rooms, self.members);
        let title = format!("fanout {kind} {rooms} x {members}");
        let mut report = deliveries.report(title);
        report.add_memory(&opened, "socket", people.len());
        report.add_times(&run.recorder, Timing::Delivery);
        report.add_times(&run.recorder, Timing::Acknowledgement);
        let missing = if self.durable { "lost" } else { SUPERSEDED };
        deliveries.add_faults(&mut report, run, missing);
        Ok(report)
    }
}
