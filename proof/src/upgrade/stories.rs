//! The stories that run at every mix of releases: something is done at each instance and checked on all of them. Some
//! of it is kept for the next mix, where another release may go on with it.

mod members;
mod messages;
mod presence;
mod rooms;
mod sessions;
mod todos;

use super::{Mix, Release};
use crate::{
    promises::{
        Figure,
        people::{PATIENCE, placed},
    },
    retry,
};
use anyhow::{Context, Result, bail};
use futures::future::{join_all, try_join_all};
use messages::Written;
use roost_client::{Client, Endpoint, Error};
use roost_schema::{ErrorCode, OpId, OpenConversation, Register, RoomId, Secret};
use roost_testbed::cluster::{Cluster, INSTANCES};
use sessions::Kept;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};
use todos::WrittenTodo;
use tokio::time::sleep;

const PASSWORD: &str = "correct horse battery";
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SEEN: Duration = Duration::from_secs(1);

/// The instances. The first is the one where the story makes its changes.
type Places = Vec<Endpoint>;

/// All parties, and for each kind of change how long the other instances took to know of it.
pub(super) struct Stories {
    parties: Vec<Party>,
    figures: [Figure; 5],
}

/// The people whose stories begin at one instance.
struct Party {
    /// Counted from 0.
    number: usize,
    owner: Client,
    guest: Client,
    guest_email: String,
    /// The owner's room, which the guest joins and leaves.
    room: RoomId,
    /// What was written at the mix before.
    written: Option<Written>,
    kept: Option<Kept>,
    todo: Option<WrittenTodo>,
    mixes: usize,
}

/// How long each kind of change took, in the order of [`Stories::figures`].
#[derive(Default)]
struct Times {
    let_in: Vec<Duration>,
    role: Vec<Duration>,
    removed: Vec<Duration>,
    signed_out: Vec<Duration>,
    seen: Vec<Duration>,
}

impl Stories {
    pub(super) async fn begin(cluster: &Cluster) -> Result<Self> {
        let mut parties = Vec::new();
        for number in 0..cluster.instances().len() {
            parties.push(Party::begin(cluster.url(), number).await?);
        }
        let figures = [
            (
                "C7",
                "an invited member is let in, and a member's new role counts",
            ),
            ("C7", "a member made a viewer writes nowhere"),
            ("C7", "a removed member is out"),
            ("C7", "a session that was signed out is out"),
            ("C6", "who joins, leaves or signs out is seen to"),
        ];
        Ok(Self {
            parties,
            figures: figures.map(|(promise, what)| Figure::new(promise, what, SEEN)),
        })
    }

    /// Runs the stories of all parties at the same time; gives what went wrong.
    pub(super) async fn run(&mut self, mix: &Mix, cluster: &Cluster) -> Vec<String> {
        let places = match places(cluster) {
            Ok(places) => places,
            Err(error) => return vec![format!("{error:#}")],
        };
        let runs = self.parties.iter_mut().map(|party| {
            let mut places = places.clone();
            let mut releases = mix.0;
            places.rotate_left(party.number);
            releases.rotate_left(party.number);
            party.run(places, releases)
        });
        let mut faults = Vec::new();
        for (number, outcome) in join_all(runs).await.into_iter().enumerate() {
            match outcome {
                Ok(times) => self.note(times),
                Err(error) => faults.push(format!("{mix}, at instance {}: {error:#}", number + 1)),
            }
        }
        faults
    }

    fn note(&mut self, times: Times) {
        let Times {
            let_in,
            role,
            removed,
            signed_out,
            seen,
        } = times;
        let all = [let_in, role, removed, signed_out, seen];
        for (figure, times) in self.figures.iter_mut().zip(all) {
            figure.times.extend(times);
        }
    }

    pub(super) fn figures(&self) -> &[Figure] {
        &self.figures
    }
}

fn places(cluster: &Cluster) -> Result<Places> {
    let instances = cluster.instances().iter();
    instances
        .map(|instance| Ok(Endpoint::new(&instance.url())?))
        .collect()
}

impl Party {
    async fn begin(url: &str, number: usize) -> Result<Self> {
        let (owner, _) =
            register(&Endpoint::new(url)?, &format!("owner-{number}"), number, 1).await?;
        let name = format!("guest-{number}");
        let (guest, guest_email) = register(&Endpoint::new(url)?, &name, number, 2).await?;
        let conversation = OpenConversation {
            user_ids: vec![guest.user_id()],
            title: Some(format!("Stories {number}")),
            op_id: Some(new_op_id()?),
        };
        let room = retry_unavailable(async || owner.open_conversation(&conversation).await);
        let room = room.await?.id;
        let (removal, user) = (new_op_id()?, guest.user_id());
        retry_unavailable(async || owner.remove_member(room, user, Some(&removal)).await).await?;
        Ok(Self {
            number,
            owner,
            guest,
            guest_email,
            room,
            written: None,
            kept: None,
            todo: None,
            mixes: 0,
        })
    }

    async fn run(&mut self, places: Places, releases: [Release; INSTANCES]) -> Result<Times> {
        let mut times = Times::default();
        self.mixes += 1;
        self.run_members(&places, &mut times)
            .await
            .context("members")?;
        self.run_messages(&places).await.context("messages")?;
        self.run_todos(&places, &releases).await.context("todos")?;
        self.run_rooms(&places).await.context("rooms")?;
        self.run_presence(&places, &mut times)
            .await
            .context("presence")?;
        self.run_removal(&places, &mut times)
            .await
            .context("removal")?;
        self.run_sessions(&places, &mut times)
            .await
            .context("sessions")?;
        Ok(times)
    }
}

/// Registers a person with a local address of their own, which `number` (of the party) and `place` (of the person in
/// it) choose.
async fn register(
    at: &Endpoint,
    name: &str,
    number: usize,
    place: usize,
) -> Result<(Client, String)> {
    let email = format!("{name}@example.org");
    let own = Ipv4Addr::new(127, 11, u8::try_from(number)?, u8::try_from(place)?);
    let input = Register {
        email: email.clone(),
        password: Secret::new(PASSWORD),
        name: name.to_owned(),
        op_id: Some(new_op_id()?),
    };
    let at = at.from_address(IpAddr::V4(own))?;
    let registered = retry_unavailable(async || at.register(&input).await);
    let client = registered
        .await
        .with_context(|| format!("{name} cannot register"))?;
    Ok((client, email))
}

fn new_op_id() -> Result<OpId> {
    Ok(uuid::Uuid::now_v7().to_string().parse()?)
}

/// Waits until `is_so` holds for this person at each instance; gives how long that took at each.
async fn everywhere(
    client: &Client,
    places: &Places,
    is_so: impl AsyncFn(&Client) -> Result<bool, Error>,
) -> Result<Vec<Duration>> {
    let began = Instant::now();
    let all = places.iter().map(async |place| {
        let there = placed(client, Some(place))?;
        while !is_or_busy(is_so(&there).await)? {
            if began.elapsed() > PATIENCE {
                bail!("an instance does not know it");
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(began.elapsed())
    });
    try_join_all(all).await
}

/// Whether an answer is a refusal with this code. Another refusal is an error.
fn is_refused<T>(answer: Result<T, Error>, code: ErrorCode) -> Result<bool, Error> {
    match answer {
        Ok(_) => Ok(false),
        Err(error) if error.code() == Some(code) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Takes an answer of a busy server, which says nothing, for `false`.
fn is_or_busy(answer: Result<bool, Error>) -> Result<bool, Error> {
    match answer {
        Err(error) if error.is_retryable() => Ok(false),
        known => known,
    }
}

/// Retries a call, as clients do: a release that stops may refuse it for a moment.
async fn retry_unavailable<T>(call: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    retry::retry_unavailable(PATIENCE, call).await
}
