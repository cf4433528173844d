//! One run of a scenario: its options, the window that is measured, and whether the generator kept up.

use crate::{
    clock,
    people::{self, Person},
    process::{Process, Usage, kernel_memory},
    recorder::{Recorder, Timing},
    socket::{Reader, Socket, Target},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use roost_schema::RoomId;
use std::{
    io::Write,
    path::PathBuf,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};
use tokio::time::{sleep, sleep_until};

/// With more of its processors than this, the generator may have been what was slow.
const CPU_SHARE_MAX: f64 = 0.9;
/// So late may the generator be with one write of a hundred. What a group commit of some hundred rooms brings is read in one
/// burst of some 15 ms, even by a generator that is idle nine tenths of its time.
const LATENESS_MAX: Duration = Duration::from_millis(20);
/// Sockets that are being opened at a time.
const OPENING_MAX: usize = 32;
/// How often a second the generator looks whether it is on time with other things than writes.
const PULSES_A_SECOND: u32 = 50;
const PULSES: u64 = PULSES_A_SECOND as u64;
/// Sockets that are opened and closed before memory is looked at: what the first ones bring about is not theirs.
const WARMING_SOCKETS: usize = 200;
/// Between the last socket and the first write.
const SETTLING: Duration = Duration::from_secs(1);

/// What every scenario is told.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The server, or what stands before it: `http://host:port`. Given several times, sockets connect to each in turns, and
    /// requests go to the first.
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    pub url: Vec<String>,
    /// The server's process, when it runs on this machine: what it takes is measured. Of several, the sum.
    #[arg(long, value_name = "ID")]
    pub pid: Vec<u32>,
    /// Further processes, each by a name: `postgres=1234`.
    #[arg(long, value_name = "NAME=ID", value_parser = process)]
    pub watch: Vec<Process>,
    #[command(flatten)]
    pub people: people::Source,
    /// Not measured, in seconds.
    #[arg(long, default_value_t = 3)]
    pub warm_up: u64,
    /// Measured, in seconds.
    #[arg(long)]
    pub duration: Option<u64>,
    /// Writes the figures into this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes what happened in each second into this file.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Draws what happened in each second into this file.
    #[arg(long, value_name = "FILE")]
    pub chart: Option<PathBuf>,
    /// Reports also when the generator did not keep up: to try a scenario, not to measure.
    #[arg(long)]
    pub unjudged: bool,
    /// Prints no progress.
    #[arg(long)]
    pub quiet: bool,
}

fn process(text: &str) -> Result<Process> {
    let (name, id) = text.split_once('=').context("NAME=ID")?;
    Ok(Process {
        name: name.to_owned(),
        id: id.parse()?,
    })
}

/// A scenario under way.
pub struct Run {
    pub options: Options,
    pub target: Target,
    pub recorder: Arc<Recorder>,
}

/// What was taken while it was measured.
#[derive(Clone, Debug)]
pub struct Window {
    pub took: Duration,
    /// The server first, if it is watched, then the others by their names.
    pub usages: Vec<(String, Usage)>,
    pub generator: Usage,
    pub bytes: u64,
    /// By how much the kernel's memory grew.
    pub kernel: u64,
}

impl Run {
    pub async fn begin(options: Options) -> Result<Self> {
        Ok(Self {
            target: Target::find(&options.url).await?,
            options,
            recorder: Arc::default(),
        })
    }

    /// Where requests go.
    pub fn url(&self) -> &str {
        &self.options.url[0]
    }

    pub async fn people(&self, count: usize) -> Result<Vec<Person>> {
        people::prepare(&self.options.people, self.url(), count).await
    }

    pub fn duration(&self, default: u64) -> Duration {
        Duration::from_secs(self.options.duration.unwrap_or(default))
    }

    pub fn warm_up(&self) -> Duration {
        Duration::from_secs(self.options.warm_up)
    }

    /// Opens a socket for each person and their rooms, as fast as the server takes them.
    pub async fn open(&self, people: &[Person], rooms: &[Vec<RoomId>]) -> Result<Vec<Socket>> {
        crate::limits::allow_sockets(people.len())?;
        let sockets = stream::iter(people.iter().zip(rooms).enumerate())
            .map(async |(number, (person, rooms))| {
                let reader = Reader::new(&self.recorder, person.id);
                let due = clock::now();
                Socket::open(&self.target, number, person, rooms, reader, due)
                    .await
                    .with_context(|| format!("socket {number}"))
                    .map(|socket| (number, socket))
            })
            .buffer_unordered(OPENING_MAX);
        sockets.try_collect().await.map(in_order)
    }

    /// Opens some sockets and closes them again, before memory is looked at.
    pub async fn warm(&self, people: &[Person], rooms: &[Vec<RoomId>]) -> Result<()> {
        let some = people.len().min(WARMING_SOCKETS);
        for socket in self.open(&people[..some], &rooms[..some]).await? {
            socket.finish().await?;
        }
        settle().await;
        Ok(())
    }

    fn processes(&self) -> Vec<Process> {
        let servers = self.options.pid.iter().map(|id| Process {
            name: "server".to_owned(),
            id: *id,
        });
        servers.chain(self.options.watch.clone()).collect()
    }

    /// Processes of the same name as one.
    fn usages(&self) -> Result<Vec<(String, Usage)>> {
        let mut usages: Vec<(String, Usage)> = Vec::new();
        for process in self.processes() {
            let usage = process.usage()?;
            match usages.iter_mut().find(|(name, _)| *name == process.name) {
                Some((_, sum)) => *sum += usage,
                None => usages.push((process.name, usage)),
            }
        }
        Ok(usages)
    }

    /// What the server takes of the machine at this moment. None when it is not watched.
    pub fn server(&self) -> Result<Option<Usage>> {
        let is_watched = !self.options.pid.is_empty();
        let server = self.usages()?.into_iter().next();
        Ok(server.filter(|_| is_watched).map(|(_, usage)| usage))
    }

    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            at: Instant::now(),
            usages: self.usages()?,
            generator: Process::this().usage()?,
            bytes: self.recorder.bytes(),
            kernel: kernel_memory()?,
        })
    }

    /// Lets it run, first unmeasured, then measured, with a line of progress each second. `timing`: what the line counts.
    pub async fn measure(&self, timing: Timing, duration: Duration) -> Result<Window> {
        sleep(self.warm_up()).await;
        self.recorder.begin();
        let before = self.snapshot()?;
        let mut counted = self.recorder.count(timing);
        let begin = tokio::time::Instant::now();
        let pulses = duration.as_secs() * PULSES;
        for pulse in 1..=pulses {
            let due = begin + Duration::from_secs(1) / PULSES_A_SECOND * u32::try_from(pulse)?;
            sleep_until(due).await;
            let late = clock::micros(due.elapsed());
            self.recorder.note_pulse(clock::now().saturating_sub(late));
            if pulse % PULSES > 0 {
                continue;
            }
            let second = pulse / PULSES;
            let count = self.recorder.count(timing);
            self.show_progress(second, duration, timing, count - counted);
            counted = count;
        }
        self.recorder.end();
        let window = self.snapshot()?.since(&before);
        if !self.options.quiet {
            eprintln!();
        }
        Ok(window)
    }

    fn show_progress(&self, second: u64, duration: Duration, timing: Timing, count: u64) {
        if self.options.quiet {
            return;
        }
        let number = self.recorder.second(clock::now()).saturating_sub(1);
        let p99 = self.recorder.p99_of(number, timing);
        let errors: u64 = self.recorder.errors().values().sum();
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let p99 = p99.unwrap_or_default() as f64 / 1e3;
        eprint!(
            "\r{second:>4} of {} s  {count:>8} {}/s  p99 {p99:>8.1} ms  {errors} errors ",
            duration.as_secs(),
            timing.name()
        );
        // It is only for people: without a terminal it is not needed.
        let _ = std::io::stderr().flush();
    }
}

/// What was taken until a moment.
pub struct Snapshot {
    at: Instant,
    usages: Vec<(String, Usage)>,
    generator: Usage,
    bytes: u64,
    kernel: u64,
}

/// By their numbers, whichever was ready first.
pub fn in_order<T>(mut numbered: Vec<(usize, T)>) -> Vec<T> {
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, it)| it).collect()
}

/// Lets the server finish what opening sockets brought about.
pub async fn settle() {
    sleep(SETTLING).await;
}

impl Snapshot {
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    pub fn since(&self, earlier: &Self) -> Window {
        let usages = self.usages.iter().zip(&earlier.usages);
        Window {
            took: self.at - earlier.at,
            usages: usages
                .map(|((name, now), (_, before))| (name.clone(), now.since(*before)))
                .collect(),
            generator: self.generator.since(earlier.generator),
            bytes: self.bytes - earlier.bytes,
            kernel: self.kernel.saturating_sub(earlier.kernel),
        }
    }
}

impl Window {
    /// The part of its processors that the generator had.
    pub fn generator_share(&self) -> f64 {
        let processors = available_parallelism().map_or(1, usize::from);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        self.generator.cpu.as_secs_f64() / (self.took * processors).as_secs_f64()
    }

    /// An error when the generator itself may have been what was slow.
    pub fn judge(&self, run: &Run) -> Result<()> {
        if run.options.unjudged {
            return Ok(());
        }
        let share = self.generator_share();
        ensure!(
            share <= CPU_SHARE_MAX,
            "the generator was the bottleneck: it had {:.0} % of its processors; nothing is reported",
            share * 100.0
        );
        let late = Duration::from_micros(run.recorder.lateness());
        ensure!(
            late <= LATENESS_MAX,
            "the generator was the bottleneck: it was {late:?} late with one write of a hundred; nothing is reported"
        );
        Ok(())
    }
}

/// Waits until so many writes were answered, for some seconds at most, and what they brought has arrived.
pub async fn drain(recorder: &Recorder, written: u64) {
    const PATIENCE: Duration = Duration::from_secs(5);
    const LOOK: Duration = Duration::from_millis(20);
    const ARRIVAL: Duration = Duration::from_millis(500);
    let began = Instant::now();
    while recorder.answered() < written && began.elapsed() < PATIENCE {
        sleep(LOOK).await;
    }
    sleep(ARRIVAL).await;
}
