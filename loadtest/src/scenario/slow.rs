//! One reader of a hundred stops reading; the others must not notice, and the server's memory must not grow for it.

use super::{
    deliveries::Deliveries,
    in_one_room_each, rooms_of,
    writers::{What, Who, Writers},
};
use crate::{recorder::Timing, report::Report, rooms, run::Run, socket::Command};
use anyhow::Result;
use clap::Args;

const SECONDS: u64 = 30;
/// One of so many stops reading; the first person writes.
const SLOW: usize = 100;

#[derive(Clone, Debug, Args)]
pub struct Slow {
    /// Readers in one room, besides the one who writes.
    #[arg(long, default_value_t = 100)]
    pub readers: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 40.0)]
    pub rate: f64,
}

impl Slow {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let people = run.people(1 + self.readers).await?;
        let rooms = rooms::open(&people, in_one_room_each(1, people.len())).await?;
        let sockets = run.open(&people, &rooms_of(people.len(), &rooms)).await?;
        let is_slow = |number: usize| number % SLOW == 1;
        for (number, socket) in sockets.iter().enumerate() {
            if is_slow(number) {
                socket.send(Command::Stall);
            }
        }
        let writers = Writers::start(
            What::LongMessage,
            Who::Owner,
            self.rate,
            &people,
            &rooms,
            &sockets,
        );
        let duration = run.duration(SECONDS);
        let mut deliveries = Deliveries::measure(run, writers, sockets, duration).await?;
        for sent in &mut deliveries.sent {
            sent.readers.retain(|reader| !is_slow(*reader));
        }

        let slow = (0..people.len()).filter(|number| is_slow(*number)).count();
        let mut report = deliveries.report(format!("{slow} of {} readers are slow", self.readers));
        report.add_memory(&deliveries.window, "slow reader", slow.max(1));
        report.add_times(&run.recorder, Timing::Delivery);
        deliveries.add_faults(&mut report, run, "lost");
        Ok(report)
    }
}
