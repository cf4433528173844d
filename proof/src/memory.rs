//! `cargo xtask prove memory`: unfinished requests cost the server little memory. A thousand connections, from one
//! address and then from twenty, each hold back the last byte of a body or message: on every transport, with an account
//! and without, directly and through Caddy. Meanwhile a bystander at another address is served.

mod bystander;
mod holding;

use anyhow::{Context, Result, bail, ensure};
use bystander::{Bystander, Slowest};
use clap::Args;
use futures::future::join_all;
use holding::{Holder, KINDS, Kind, Tally};
use roost_testbed::{
    cluster::{Cluster, Options},
    interrupt, roost,
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 1_000;
const ADDRESSES: [usize; 2] = [1, 20];
const GROWTH_MAX_MIB: f64 = 64.0;
const MIB: f64 = 1_024.0 * 1_024.0;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A kind starts when memory has not shrunk for the first time, and at the latest after the second: a session without
/// connections ends after 18 s.
const GIVING_BACK: Duration = Duration::from_secs(2);
const GIVEN_BACK_MAX: Duration = Duration::from_secs(20);
/// How long the connections stand; refused ones try again meanwhile.
const STAND: Duration = Duration::from_secs(6);
/// How long all connections may take to send their bytes.
const SETTLE_MAX: Duration = Duration::from_mins(1);
/// The least percentage of connections that must stand or have been refused, so that a round is valid.
const ANSWERED_SHARE: usize = 95;
/// A request limit so high that only the number of connections is bounded.
const UNBOUND: &str = "1000000";

#[derive(Args, Clone)]
pub struct Memory {
    /// Uses the unoptimised server.
    #[arg(long)]
    pub debug: bool,
    /// Only the kinds whose names contain this, for example `REST bodies` or `through Caddy`.
    #[arg(long)]
    pub only: Option<String>,
}

/// One round, and its memory use.
struct Round {
    name: String,
    tally: Tally,
    /// Memory above what the server held before the first round of its kind.
    peak_mib: f64,
    after_mib: f64,
    served: usize,
    slowest: Slowest,
}

pub(super) fn run(memory: &Memory) -> Result<()> {
    let program = roost::build(memory.debug)?;
    let unbound = |name| (name, UNBOUND.to_owned());
    let cluster = Cluster::start(Options {
        instances: 1,
        spares: 0,
        // The stand-in for MongoDB would get no core while so many connections arrive.
        mongodb: false,
        environment: vec![
            unbound("ROOST_ADDRESS_REQUESTS_PER_SECOND"),
            unbound("ROOST_ACCOUNT_REQUESTS_PER_SECOND"),
            unbound("ROOST_ADDRESS_HANDSHAKES_PER_SECOND"),
            unbound("ROOST_ADDRESS_SIGN_INS_PER_SECOND"),
        ],
        ..Options::new(program)
    })?;
    println!("{}", cluster.describe());
    let runtime = tokio::runtime::Runtime::new()?;
    let only = memory.only.as_deref().unwrap_or_default();
    let rounds = runtime.block_on(measure(&cluster, only))?;
    cluster.stop()?;
    judge(&rounds)?;
    match &memory.only {
        Some(only) => println!("kept; the rounds without {only:?} were left out"),
        None => println!("proven"),
    }
    Ok(())
}

async fn measure(cluster: &Cluster, only: &str) -> Result<Vec<Round>> {
    let instance = cluster.instances().first().context("there is one")?;
    let process = instance.process_id();
    let ways = [
        ("straight", instance.url()),
        ("through Caddy", cluster.url().to_owned()),
    ];
    let bystander = Bystander::register(cluster.url()).await?;
    let before = resident_bytes(process)?;
    println!("before: {:.1} MiB resident", before / MIB);
    let mut rounds = Vec::new();
    for (way, url) in &ways {
        for kind in KINDS {
            let pair = format!("{kind}, {way}");
            if !pair.contains(only) {
                continue;
            }
            let place = Place {
                process,
                before: given_back(process).await?,
                to: url.trim_start_matches("http://").parse()?,
            };
            println!("{pair}, {:.1} MiB resident", place.before / MIB);
            // The second round starts with the memory that the first one left.
            for addresses in ADDRESSES {
                interrupt::check()?;
                let name = format!("{pair}, of {addresses}");
                let round = stand(&place, kind, addresses, &bystander).await;
                let round = round.with_context(|| name.clone())?;
                let round = Round { name, ..round };
                println!("{}", round.line());
                rounds.push(round);
            }
        }
    }
    let after = given_back(process).await?;
    println!("after: {:.1} MiB resident", after / MIB);
    Ok(rounds)
}

struct Place {
    process: u32,
    before: f64,
    to: SocketAddr,
}

async fn stand(
    place: &Place,
    kind: Kind,
    addresses: usize,
    bystander: &Bystander,
) -> Result<Round> {
    let end = CancellationToken::new();
    let credentials = Arc::new(bystander.credentials().await?);
    let holders: Vec<_> = (0..CONNECTIONS)
        .map(|number| Holder {
            kind,
            from: address(number % addresses),
            to: place.to,
            credentials: Arc::clone(&credentials),
            course: Arc::default(),
        })
        .collect();
    let courses: Vec<_> = holders.iter().map(|it| Arc::clone(&it.course)).collect();
    let all = || courses.iter().map(|it| it.read()).sum::<Tally>();
    let holding = join_all(holders.into_iter().map(|it| it.hold(&end)));
    let watching = async {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (began, mut peak, mut settled) = (Instant::now(), 0.0_f64, None);
        loop {
            looks.tick().await;
            peak = peak.max(resident_bytes(place.process)?);
            let tally = all();
            let is_settled = tally.answered() >= CONNECTIONS * ANSWERED_SHARE / 100;
            let since = *settled.get_or_insert_with(Instant::now);
            if !is_settled {
                settled = None;
                ensure!(
                    began.elapsed() < SETTLE_MAX,
                    "only {} of {CONNECTIONS} could say what they wanted: {tally}",
                    tally.answered()
                );
            } else if since.elapsed() > STAND {
                end.cancel();
                return anyhow::Ok((peak, tally));
            }
        }
    };
    let ends = end.clone();
    let served = bystander.be_served(&ends);
    let (_, watched, served) = tokio::join!(holding, cancelling(watching, &end), served);
    let ((peak, tally), (served, slowest)) = (watched?, served?);
    Ok(Round {
        name: String::new(),
        tally,
        peak_mib: (peak - place.before) / MIB,
        after_mib: (resident_bytes(place.process)? - place.before) / MIB,
        served,
        slowest,
    })
}

/// Waits until the memory of earlier rounds is freed, and answers the bytes that are still resident.
async fn given_back(process: u32) -> Result<f64> {
    let began = Instant::now();
    let (mut least, mut since) = (resident_bytes(process)?, began);
    while since.elapsed() < GIVING_BACK && began.elapsed() < GIVEN_BACK_MAX {
        sleep(LOOK_EVERY).await;
        let resident = resident_bytes(process)?;
        if resident < least {
            (least, since) = (resident, Instant::now());
        }
    }
    resident_bytes(process)
}

/// Cancels the other tasks when the work ends, also with an error.
async fn cancelling<T>(work: impl Future<Output = T>, end: &CancellationToken) -> T {
    let done = work.await;
    end.cancel();
    done
}

/// An address that is neither the proxy's nor the bystander's.
fn address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or_default();
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 9, 1).to_bits() + number)
}

/// The resident bytes that the kernel counts (proc(5), `VmRSS`).
fn resident_bytes(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u32 = kib.context("no VmRSS: it has ended")?.trim().parse()?;
    Ok(f64::from(kib) * 1_024.0)
}

impl Round {
    fn is_kept(&self) -> bool {
        self.peak_mib <= GROWTH_MAX_MIB && self.served > 0
    }

    fn line(&self) -> String {
        format!(
            "{:<52} {}, peak {:>5.1} MiB, after {:>5.1} MiB; a bystander served {} times, {} at most  {}",
            self.name,
            self.tally,
            self.peak_mib,
            self.after_mib,
            self.served,
            self.slowest,
            if self.is_kept() { "kept" } else { "BROKEN" },
        )
    }
}

fn judge(rounds: &[Round]) -> Result<()> {
    let broken: Vec<_> = rounds.iter().filter(|it| !it.is_kept()).collect();
    let most = rounds.iter().map(|it| it.peak_mib).fold(0.0, f64::max);
    println!(
        "{} rounds of {CONNECTIONS} connections: at most {most:.1} MiB more than before, {GROWTH_MAX_MIB} MiB are allowed",
        rounds.len()
    );
    if !broken.is_empty() || rounds.is_empty() {
        let lines: Vec<_> = broken.iter().map(|it| it.line()).collect();
        bail!("not kept:\n{}", lines.join("\n"));
    }
    Ok(())
}
