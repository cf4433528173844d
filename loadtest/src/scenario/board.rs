//! Everybody in one room points at things, twenty times a second, and drags them, which is kept, twice a second.

use super::{
    SUPERSEDED, add_faults, finish, in_one_room_each, rooms_of,
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
pub struct Board {
    #[arg(long, default_value_t = 50)]
    pub people: usize,
    /// Pointers of each person a second.
    #[arg(long, default_value_t = 20.0)]
    pub pointing: f64,
    /// Things that each person drags a second.
    #[arg(long, default_value_t = 2.0)]
    pub dragging: f64,
}

impl Board {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let people = run.people(self.people).await?;
        let rooms = rooms::open(&people, in_one_room_each(1, self.people)).await?;
        let sockets = run.open(&people, &rooms_of(people.len(), &rooms)).await?;
        let count = f64::from(u32::try_from(self.people)?);
        let start = |what, each: f64| {
            Writers::start(
                what,
                Who::Everybody,
                each * count,
                &people,
                &rooms,
                &sockets,
            )
        };
        let pointing = start(What::Cursor, self.pointing);
        let dragging = start(What::Todo, self.dragging);
        let window = run.measure(Timing::Delivery, run.duration(SECONDS)).await?;
        let delivered = run.recorder.count(Timing::Delivery);
        let pointed = pointing.stop()?;
        let dragged = dragging.stop()?;
        window.judge(run)?;
        drain(&run.recorder, written(&dragged)).await;
        let readers = finish(sockets).await?;

        let mut report = Report::new(format!("board of {} people", self.people));
        report.add_rate("delivery", delivered, window.took);
        report.add_costs(&window, "delivery", delivered);
        report.add_times(&run.recorder, Timing::Delivery);
        report.add_times(&run.recorder, Timing::Acknowledgement);
        // Pointers of several people are sent together, so a delivery costs less than a write.
        let all = written(&pointed) + written(&dragged);
        report.add_rate("write", all, window.took);
        report.add_lateness(&run.recorder);
        add_faults(&mut report, run, SUPERSEDED, &readers, &dragged);
        Ok(report)
    }
}
