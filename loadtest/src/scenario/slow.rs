//! One reader of a hundred stops reading; the others must not notice, and the server's memory must not grow for it.

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
    socket::Command,
};
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
        let window = run.measure(Timing::Delivery, run.duration(SECONDS)).await?;
        let delivered = run.recorder.count(Timing::Delivery);
        let mut sent = writers.stop()?;
        window.judge(run)?;
        drain(&run.recorder, written(&sent)).await;
        let readers = finish(sockets).await?;
        for sent in &mut sent {
            sent.readers.retain(|reader| !is_slow(*reader));
        }

        let slow = (0..people.len()).filter(|number| is_slow(*number)).count();
        let mut report = Report::new(format!("{slow} of {} readers are slow", self.readers));
        report.add_rate("delivery", delivered, window.took);
        report.add_costs(&window, "delivery", delivered);
        report.add_memory(&window, "slow reader", slow.max(1));
        report.add_times(&run.recorder, Timing::Delivery);
        add_faults(&mut report, run, "lost", &readers, &sent);
        Ok(report)
    }
}
