//! People in small rooms talk at random times.

use super::{
    deliveries::Deliveries,
    in_one_room_each, rooms_of,
    writers::{What, Who, Writers},
};
use crate::{recorder::Timing, report::Report, rooms, run::Run};
use anyhow::Result;
use clap::Args;

const SECONDS: u64 = 10;

#[derive(Clone, Debug, Args)]
pub struct Chat {
    #[arg(long, default_value_t = 100)]
    pub rooms: usize,
    #[arg(long, default_value_t = 10)]
    pub members: usize,
    /// Messages a second, of all people together.
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
}

impl Chat {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let people = run.people(self.rooms * self.members).await?;
        let rooms = rooms::open(&people, in_one_room_each(self.rooms, self.members)).await?;
        let sockets = run.open(&people, &rooms_of(people.len(), &rooms)).await?;
        let writers = Writers::start(
            What::Message,
            Who::Everybody,
            self.rate,
            &people,
            &rooms,
            &sockets,
        );
        let duration = run.duration(SECONDS);
        let deliveries = Deliveries::measure(run, writers, sockets, duration).await?;

        let title = format!("chat in {} x {}", self.rooms, self.members);
        let mut report = deliveries.report(title);
        report.add_times(&run.recorder, Timing::Delivery);
        report.add_times(&run.recorder, Timing::Acknowledgement);
        deliveries.add_faults(&mut report, run, "lost");
        Ok(report)
    }
}
