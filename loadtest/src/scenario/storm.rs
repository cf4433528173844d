//! All sockets are cut at once by a TCP reset and come back at once, while people go on writing: how long it takes until
//! everybody is back, what it costs, and whether anything was missed.

use super::{
    add_faults, finish, in_one_room_each, rooms_of,
    writers::{What, Who, Writers},
};
use crate::{
    clock,
    people::Person,
    recorder::Timing,
    report::Report,
    rooms,
    run::{Run, in_order},
    socket::{Reader, Socket},
};
use anyhow::{Context, Result};
use clap::Args;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use roost_schema::RoomId;
use std::time::Duration;
use tokio::time::sleep;

const MEMBERS: usize = 10;
/// Connections that one machine opens at a time; a listener's queue is not much longer.
const RETURNING_MAX: usize = 256;
const RETRIES: usize = 40;
const RETRY_WAIT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Args)]
pub struct Storm {
    /// Sockets that are cut; they share rooms by tens. In each room one more stays and writes.
    #[arg(long, default_value_t = 2_000)]
    pub sockets: usize,
    /// Messages a second, of all rooms together.
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
}

impl Storm {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let rooms = self.sockets.div_ceil(MEMBERS);
        // The first of each room writes, and is not cut.
        let people = run.people(rooms * (1 + MEMBERS)).await?;
        let rooms = rooms::open(&people, in_one_room_each(rooms, 1 + MEMBERS)).await?;
        let joined = rooms_of(people.len(), &rooms);
        let sockets = run.open(&people, &joined).await?;
        let writers = Writers::start(
            What::Message,
            Who::Owner,
            self.rate,
            &people,
            &rooms,
            &sockets,
        );
        sleep(run.warm_up()).await;

        run.recorder.begin();
        let before = run.snapshot()?;
        let cut = try_join_all(sockets.into_iter().enumerate().map(cut_readers)).await?;
        let due = clock::now();
        let returned = stream::iter(cut.into_iter().enumerate())
            .map(async |(number, connection)| {
                let (person, rooms) = (&people[number], &joined[number]);
                let socket = come_back(run, number, person, rooms, connection, due).await?;
                anyhow::Ok((number, socket))
            })
            .buffer_unordered(RETURNING_MAX);
        let sockets: Vec<Socket> = in_order(returned.try_collect().await?);
        let window = run.snapshot()?.since(&before);
        let back = run.recorder.count(Timing::Connect);
        let sent = writers.stop()?;
        // What was written meanwhile is to arrive.
        sleep(RETRY_WAIT * 4).await;
        run.recorder.end();
        window.judge(run)?;
        let readers = finish(sockets).await?;

        let mut report = Report::new(format!("storm of {} sockets", self.sockets));
        report.add("all are back after", window.took.as_secs_f64(), "s");
        report.add_rate("resume", back, window.took);
        report.add_costs(&window, "resume", back);
        report.add_times(&run.recorder, Timing::Connect);
        report.add_times(&run.recorder, Timing::Acknowledgement);
        add_faults(&mut report, run, "lost", &readers, &sent);
        Ok(report)
    }
}

/// A socket that stays, or what was read by one that was cut.
enum Connection {
    Stays(Socket),
    Cut(Reader),
}

async fn cut_readers((number, socket): (usize, Socket)) -> Result<Connection> {
    if number % (1 + MEMBERS) == 0 {
        return Ok(Connection::Stays(socket));
    }
    Ok(Connection::Cut(socket.cut().await?))
}

/// As clients do: again after a while, when the server has no room yet.
async fn come_back(
    run: &Run,
    number: usize,
    person: &Person,
    rooms: &[RoomId],
    connection: Connection,
    due: u64,
) -> Result<Socket> {
    let reader = match connection {
        Connection::Stays(socket) => return Ok(socket),
        Connection::Cut(reader) => reader,
    };
    let mut failure = None;
    for _ in 0..RETRIES {
        let resumed = reader.clone();
        match Socket::open(&run.target, number, person, rooms, resumed, due).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = Some(error),
        }
        sleep(RETRY_WAIT).await;
    }
    let failure = failure.context("there was no try")?;
    Err(failure.context(format!("socket {number} does not come back")))
}
