//! People in small rooms talk at random times.

use super::{
    add_faults, finish, in_one_room_each, rooms_of,
    writers::{What, Who, Writers},
    written,
};
use crate::{
    recorder::Timing,
    report::Report,
    rooms,
    run::{Run, drain},
};
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
        let window = run.measure(Timing::Delivery, run.duration(SECONDS)).await?;
        let delivered = run.recorder.count(Timing::Delivery);
        let sent = writers.stop()?;
        window.judge(run)?;
        let written = written(&sent);
        drain(&run.recorder, written).await;
        let readers = finish(sockets).await?;

        let mut report = Report::new(format!("chat in {} x {}", self.rooms, self.members));
        report.add_rate("delivery", delivered, window.took);
        report.add_costs(&window, "delivery", delivered);
        report.add_times(&run.recorder, Timing::Delivery);
        report.add_times(&run.recorder, Timing::Acknowledgement);
        add_faults(&mut report, run, "lost", &readers, &sent);
        Ok(report)
    }
}
