//! `cargo xtask prove sign-ins`: clients that present passwords without end keep no other client from signing in.
//! Twenty addresses, or one account, do so through Caddy, under the default limits. Meanwhile a hundred other people
//! sign in once, each with their own account and address.

use anyhow::{Context, Result, bail};
use clap::Args;
use futures::future::join_all;
use roost_client::{Client, Endpoint, Error};
use roost_schema::{ChangePassword, ErrorCode, Login, Register, Secret};
use roost_testbed::{
    cluster::{Cluster, Options},
    interrupt, roost,
};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

const OTHERS: u8 = 100;
const SUCCEED_MIN: usize = 95;
const SIGN_IN_MAX: Duration = Duration::from_secs(1);
/// The time between the starts of two sign-ins, however long the earlier one takes. A worker does some 30 hashes a
/// second.
const GAP: Duration = Duration::from_millis(200);
/// How long an attack runs before the first sign-in.
const LEAD: Duration = Duration::from_secs(2);
const ADDRESSES: u8 = 20;
/// The least number of requests in flight from each address; on more cores, one for each core. Together they exceed the
/// places in the queue, which are 32 for every second core.
const AT_ONCE_MIN: usize = 2;
/// How soon an attacker tries again when its password was not judged: far sooner than the answer demands.
const PACE: Duration = Duration::from_millis(200);
const PASSWORD: &str = "correct horse battery";
const WRONG_PASSWORD: &str = "wrong password";

#[derive(Args, Clone, Copy)]
pub struct SignIns {
    /// Uses the unoptimised server.
    #[arg(long)]
    pub debug: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// All guess the password of one account, which belongs to one of the other people.
    Guess,
    SignIn,
    Register,
    /// All sign in at the same moment, and again when the last of them has its answer.
    Waves,
    /// One account presents wrong passwords to change its own.
    Change,
}

const ATTACKS: [(Attack, &str); 5] = [
    (Attack::Guess, "one account, guessed from 20 addresses"),
    (Attack::SignIn, "20 addresses sign in without pause"),
    (Attack::Register, "20 addresses register without pause"),
    (Attack::Waves, "20 addresses sign in, in waves"),
    (Attack::Change, "one account changes its password"),
];

/// One of the other people, who signs in once.
struct Other {
    endpoint: Endpoint,
    email: String,
}

struct Attackers {
    endpoints: Vec<Endpoint>,
    guessed_email: String,
    /// The attackers' own account.
    own: Client,
}

/// One attack, and how many of its passwords were judged.
struct Assault {
    attack: Attack,
    by: Arc<Attackers>,
    judged: AtomicUsize,
}

/// The results of the other people during one attack.
struct Round {
    name: &'static str,
    in_time: usize,
    slowest: Duration,
    failures: Vec<Error>,
    judged: usize,
}

pub(super) fn run(sign_ins: SignIns) -> Result<()> {
    let program = roost::build(sign_ins.debug)?;
    let cluster = Cluster::start(Options {
        instances: 1,
        spares: 0,
        // Each sign-in writes to a journal, and the MongoDB stand-in of the tests needs a whole core for 25 of them a
        // second.
        mongodb: false,
        ..Options::new(program)
    })?;
    println!("{}", cluster.describe());
    let runtime = tokio::runtime::Runtime::new()?;
    let rounds = runtime.block_on(measure(cluster.url()))?;
    cluster.stop()?;
    judge(&rounds)
}

async fn measure(url: &str) -> Result<Vec<Round>> {
    let server = Endpoint::new(url)?;
    let mut others = Vec::new();
    for host in 1..=OTHERS {
        interrupt::check()?;
        others.push(Other::register(&server, host).await?);
    }
    let guessed = others.first().context("there are others")?;
    let attackers = Arc::new(Attackers::gather(&server, &guessed.email).await?);
    let mut rounds = Vec::new();
    for (attack, name) in ATTACKS {
        interrupt::check()?;
        let round = stand(attack, name, &attackers, &others).await;
        println!("{}", round.line());
        rounds.push(round);
    }
    Ok(rounds)
}

/// Lets the other people sign in during an attack.
async fn stand(attack: Attack, name: &'static str, by: &Arc<Attackers>, others: &[Other]) -> Round {
    let assault = Arc::new(Assault {
        attack,
        by: Arc::clone(by),
        judged: AtomicUsize::new(0),
    });
    let attacking = assault.begin();
    sleep(LEAD).await;
    let sign_ins = (0_u32..).zip(others).map(|(number, other)| async move {
        sleep(GAP * number).await;
        other.sign_in().await
    });
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    for one in join_all(sign_ins).await {
        match one {
            Ok(time) => times.push(time),
            Err(error) => failures.push(error),
        }
    }
    drop(attacking);
    Round {
        name,
        in_time: times.iter().filter(|it| **it <= SIGN_IN_MAX).count(),
        slowest: times.into_iter().max().unwrap_or_default(),
        failures,
        judged: assault.judged.load(Relaxed),
    }
}

impl Other {
    async fn register(server: &Endpoint, host: u8) -> Result<Self> {
        let endpoint = server.from_address(IpAddr::from([127, 9, 2, host]))?;
        let email = fresh_email();
        endpoint.register(&registration(email.clone())).await?;
        Ok(Self { endpoint, email })
    }

    /// Signs in; answers how long it took.
    async fn sign_in(&self) -> Result<Duration, Error> {
        let begun = Instant::now();
        login(&self.endpoint, self.email.clone(), PASSWORD).await?;
        Ok(begun.elapsed())
    }
}

impl Attackers {
    async fn gather(server: &Endpoint, guessed_email: &str) -> Result<Self> {
        let endpoints = (1..=ADDRESSES)
            .map(|host| server.from_address(IpAddr::from([127, 0, 9, host])))
            .collect::<Result<Vec<_>, _>>()?;
        let first = endpoints.first().context("there are attackers")?;
        let own = first.register(&registration(fresh_email())).await?;
        Ok(Self {
            endpoints,
            guessed_email: guessed_email.to_owned(),
            own,
        })
    }
}

impl Assault {
    /// Starts the attack, which runs until the result is dropped.
    fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if self.attack == Attack::Waves {
            tasks.spawn(Arc::clone(self).go_in_waves());
            return tasks;
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for from in &self.by.endpoints {
            for _ in 0..cores.max(AT_ONCE_MIN) {
                tasks.spawn(Arc::clone(self).go_on(from.clone()));
            }
        }
        tasks
    }

    async fn go_on(self: Arc<Self>, from: Endpoint) {
        loop {
            if !self.show_password(&from).await {
                sleep(PACE).await;
            }
        }
    }

    async fn go_in_waves(self: Arc<Self>) {
        loop {
            let all = self.by.endpoints.iter();
            let judged = join_all(all.map(|from| self.show_password(from))).await;
            if !judged.contains(&true) {
                sleep(PACE).await;
            }
        }
    }

    /// Presents a password. Answers whether it was judged, and not refused before.
    async fn show_password(&self, from: &Endpoint) -> bool {
        let answer = match self.attack {
            Attack::Guess => login(from, self.by.guessed_email.clone(), WRONG_PASSWORD).await,
            Attack::SignIn | Attack::Waves => login(from, fresh_email(), WRONG_PASSWORD).await,
            Attack::Register => {
                let input = registration(fresh_email());
                from.register(&input).await.map(drop)
            }
            Attack::Change => {
                let input = ChangePassword {
                    current_password: Secret::new(WRONG_PASSWORD),
                    new_password: Secret::new(PASSWORD),
                };
                self.by.own.at(from).change_password(&input).await
            }
        };
        let error = answer.err();
        let is_judged = error.is_none_or(|it| it.code() == Some(ErrorCode::WrongCredentials));
        self.judged.fetch_add(usize::from(is_judged), Relaxed);
        is_judged
    }
}

fn fresh_email() -> String {
    format!("{}@example.org", Uuid::now_v7().simple())
}

fn registration(email: String) -> Register {
    Register {
        email,
        password: Secret::new(PASSWORD),
        name: "Somebody".to_owned(),
        op_id: None,
    }
}

async fn login(from: &Endpoint, email: String, password: &str) -> Result<(), Error> {
    let password = Secret::new(password);
    from.login(&Login { email, password }).await.map(drop)
}

impl Round {
    /// An attack of which no password was judged proves nothing.
    fn is_kept(&self) -> bool {
        self.in_time >= SUCCEED_MIN && self.judged > 0
    }

    fn line(&self) -> String {
        let failed = self.failures.first().map_or_else(String::new, |first| {
            format!(" ({} failed, the first: {first})", self.failures.len())
        });
        format!(
            "{:<40} {:>3} of {OTHERS} sign in within {} s, the slowest in {:.2} s{failed}; the attack made the server judge {} passwords  {}",
            self.name,
            self.in_time,
            SIGN_IN_MAX.as_secs(),
            self.slowest.as_secs_f64(),
            self.judged,
            if self.is_kept() { "kept" } else { "BROKEN" },
        )
    }
}

fn judge(rounds: &[Round]) -> Result<()> {
    let broken = rounds.iter().filter(|it| !it.is_kept());
    let broken: Vec<_> = broken.map(Round::line).collect();
    if !broken.is_empty() {
        bail!("not kept:\n{}", broken.join("\n"));
    }
    println!("proven");
    Ok(())
}
