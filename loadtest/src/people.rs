//! The people of a run: registered through the API, in parallel; or read from a file of an earlier run.

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use roost_client::{Client, Endpoint};
use roost_schema::{Login, Register, Secret, SignedIn, UserId};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::sleep;
use uuid::Uuid;

pub const PASSWORD: &str = "correct horse battery";
/// Registrations under way at a time, each from an address of its own: one address may register 20 people a second.
const LANES: usize = 64;
const RETRIES: usize = 60;
const RETRY_WAIT: Duration = Duration::from_millis(250);

/// Who comes back has a token for so long, which is longer than any run but a soak, and shorter than tokens live by default.
const RUN_MAX: Duration = Duration::from_mins(4);

/// Where the people come from.
#[derive(Clone, Debug, clap::Args)]
pub struct Source {
    /// Keeps the sessions in this file: people in it are not registered again.
    #[arg(long, value_name = "FILE")]
    pub sessions: Option<PathBuf>,
    /// Registers nobody: ids are made up, for a server that asks for no token.
    #[arg(long, conflicts_with = "sessions")]
    pub anonymous: bool,
}

/// Somebody who writes and reads.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: UserId,
    /// None: nobody knows this person, and no token is asked for.
    pub client: Option<Client>,
}

impl Person {
    /// An error for somebody made up.
    pub fn client(&self) -> Result<&Client> {
        self.client
            .as_ref()
            .context("this scenario needs people who are registered: run it without --anonymous")
    }
}

/// An address of the loopback network for each number: up to 50 sockets or requests at a time share one.
pub fn address(number: usize) -> IpAddr {
    const SHARED_BY: usize = 50;
    let [.., c, d] = u32::try_from(number / SHARED_BY)
        .unwrap_or_default()
        .to_be_bytes();
    // The last byte is neither 0 nor 255.
    IpAddr::V4(Ipv4Addr::new(127, 20 + c, d, 1))
}

pub async fn prepare(source: &Source, url: &str, count: usize) -> Result<Vec<Person>> {
    if source.anonymous {
        return made_up(count);
    }
    let known = match &source.sessions {
        Some(file) if file.exists() => read(file)?,
        _ => Vec::new(),
    };
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        let address = IpAddr::V4(Ipv4Addr::new(127, 19, 0, u8::try_from(lane + 1)?));
        lanes.push(Endpoint::new(url)?.from_address(address)?);
    }
    let lane = |number: usize| lanes[number % LANES].clone();
    let returning = stream::iter(known.into_iter().enumerate())
        .map(async |(number, signed_in)| come_back(&lane(number), signed_in).await)
        .buffered(LANES);
    let mut people: Vec<Client> = returning.try_collect().await?;
    let began = std::time::Instant::now();
    let missing = people.len()..count;
    let newcomers = missing.len();
    let registered = stream::iter(missing)
        .map(async |number| register(&lane(number)).await)
        .buffered(LANES);
    people.extend(registered.try_collect::<Vec<_>>().await?);
    if newcomers > 0 {
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{newcomers} people registered in {seconds:.1} s");
    }
    if let Some(file) = &source.sessions {
        write(file, &people)?;
    }
    let person = |client: Client| Person {
        id: client.user_id(),
        client: Some(client),
    };
    Ok(people.into_iter().take(count).map(person).collect())
}

/// With a token that is good for a run. One whose refresh token was used by an earlier run signs in again.
async fn come_back(endpoint: &Endpoint, signed_in: SignedIn) -> Result<Client> {
    let email = signed_in.user.email.clone();
    let client = endpoint.signed_in(signed_in);
    let token = repeat(async || client.access_token_for(RUN_MAX).await).await;
    if token.is_ok() {
        return Ok(client);
    }
    let login = Login {
        email,
        password: Secret::new(PASSWORD),
    };
    repeat(async || endpoint.login(&login).await).await
}

fn made_up(count: usize) -> Result<Vec<Person>> {
    let person = |_| {
        let id = Uuid::now_v7().to_string().parse()?;
        Ok(Person { id, client: None })
    };
    (0..count).map(person).collect()
}

async fn register(endpoint: &Endpoint) -> Result<Client> {
    let name = Uuid::now_v7();
    let input = Register {
        email: format!("{name}@example.org"),
        password: Secret::new(PASSWORD),
        name: "Load".to_owned(),
        op_id: Some(name.to_string().parse()?),
    };
    repeat(async || endpoint.register(&input).await).await
}

/// Calls again while the server says that it may help.
pub async fn repeat<T>(call: impl AsyncFn() -> roost_client::Result<T>) -> Result<T> {
    for _ in 0..RETRIES {
        match call().await {
            Err(error) if error.is_retryable() => {
                sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
            }
            known => return Ok(known?),
        }
    }
    bail!("the server refused {RETRIES} times")
}

/// The newest tokens of everybody, as JSON.
fn write(file: &Path, people: &[Client]) -> Result<()> {
    let sessions: Vec<SignedIn> = people.iter().map(Client::signed_in).collect();
    fs::write(file, serde_json::to_vec(&sessions)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: &Path) -> Result<Vec<SignedIn>> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a file of sessions", file.display()))
}
