//! People come at random times, stay for some seconds in their rooms, and leave.

use super::{in_one_room_each, rooms_of};
use crate::{
    arrivals::{Arrivals, Pattern},
    recorder::Timing,
    report::Report,
    rooms,
    run::Run,
    socket::{Reader, Socket},
};
use anyhow::Result;
use clap::Args;
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

const SECONDS: u64 = 10;
const MEMBERS: usize = 10;

#[derive(Clone, Debug, Args)]
pub struct Churn {
    /// People, in rooms of ten.
    #[arg(long, default_value_t = 1_000)]
    pub people: usize,
    /// Arrivals a second.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long each stays, in milliseconds.
    #[arg(long, default_value_t = 3_000)]
    pub stay: u64,
}

impl Churn {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        crate::limits::allow_sockets(self.people)?;
        let people = run.people(self.people).await?;
        let memberships = in_one_room_each(self.people.div_ceil(MEMBERS), MEMBERS);
        let within = |room: Vec<usize>| room.into_iter().filter(|it| *it < self.people).collect();
        let rooms = rooms::open(&people, memberships.into_iter().map(within).collect()).await?;
        let joined = rooms_of(people.len(), &rooms);

        let (come, mut comers) = mpsc::unbounded_channel();
        let arrivals = Arrivals::start(self.rate, Pattern::Random, move |number, due| {
            // An error: the run is over.
            let _ = come.send((number, due));
        });
        let stay = Duration::from_millis(self.stay);
        let visiting = async {
            let mut visits = JoinSet::new();
            while let Some((number, due)) = comers.recv().await {
                let place = usize::try_from(number).unwrap_or_default() % people.len();
                let (person, rooms) = (people[place].clone(), joined[place].clone());
                let (target, reader) = (run.target.clone(), Reader::new(&run.recorder, person.id));
                visits.spawn(async move {
                    // A refusal is counted where it is met.
                    if let Ok(socket) =
                        Socket::open(&target, place, &person, &rooms, reader, due).await
                    {
                        sleep(stay).await;
                        let _ = socket.finish().await;
                    }
                });
                while visits.try_join_next().is_some() {}
            }
            visits.join_all().await;
        };
        // Once the arrivals stop, nobody comes any more.
        let measuring = async {
            let window = run.measure(Timing::Connect, run.duration(SECONDS)).await;
            (window, run.recorder.count(Timing::Connect), arrivals.stop())
        };
        let ((), (window, visits, ended)) = tokio::join!(visiting, measuring);
        let window = window?;
        ended?;
        window.judge(run)?;

        let mut report = Report::new(format!("churn of {} a second", self.rate));
        report.add_rate("visit", visits, window.took);
        report.add_costs(&window, "visit", visits);
        report.add_times(&run.recorder, Timing::Connect);
        report.add_count("errors", run.recorder.errors().values().sum());
        Ok(report)
    }
}
