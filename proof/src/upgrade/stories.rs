//! What is told at every mix of releases: at each instance something is done, and held against all instances. Some of
//! it is kept for the next mix, where another release may be asked to go on with it.

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

/// The instances, the one where things are done first.
type Places = Vec<Endpoint>;

/// Of each kind of change, how long the other instances took to know it.
pub(super) struct Stories {
    tellers: Vec<Teller>,
    figures: [Figure; 5],
}

/// The people of the stories that begin at one instance.
struct Teller {
    /// Counted from 0.
    number: usize,
    owner: Client,
    guest: Client,
    guest_email: String,
    /// The owner's; the guest comes and goes.
    room: RoomId,
    /// From the mix before.
    written: Option<Written>,
    kept: Option<Kept>,
    todo: Option<WrittenTodo>,
    mixes: usize,
}

/// How long each took, in the order of [`Stories::figures`].
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
        let mut tellers = Vec::new();
        for number in 0..cluster.instances().len() {
            tellers.push(Teller::begin(cluster.url(), number).await?);
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
            tellers,
            figures: figures.map(|(promise, what)| Figure::new(promise, what, SEEN)),
        })
    }

    /// Tells them all, beginning at each instance at the same time; gives what went otherwise.
    pub(super) async fn tell(&mut self, mix: &Mix, cluster: &Cluster) -> Vec<String> {
        let places = match places(cluster) {
            Ok(places) => places,
            Err(error) => return vec![format!("{error:#}")],
        };
        let tellings = self.tellers.iter_mut().map(|teller| {
            let mut places = places.clone();
            let mut releases = mix.0;
            places.rotate_left(teller.number);
            releases.rotate_left(teller.number);
            teller.tell(places, releases)
        });
        let mut faults = Vec::new();
        for (number, told) in join_all(tellings).await.into_iter().enumerate() {
            match told {
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

impl Teller {
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
        let room = patiently(async || owner.open_conversation(&conversation).await);
        let room = room.await?.id;
        let (removal, user) = (new_op_id()?, guest.user_id());
        patiently(async || owner.remove_member(room, user, Some(&removal)).await).await?;
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

    async fn tell(&mut self, places: Places, releases: [Release; INSTANCES]) -> Result<Times> {
        let mut times = Times::default();
        self.mixes += 1;
        self.tell_members(&places, &mut times)
            .await
            .context("members")?;
        self.tell_messages(&places).await.context("messages")?;
        self.tell_todos(&places, &releases).await.context("todos")?;
        self.tell_rooms(&places).await.context("rooms")?;
        self.tell_presence(&places, &mut times)
            .await
            .context("presence")?;
        self.tell_removal(&places, &mut times)
            .await
            .context("removal")?;
        self.tell_sessions(&places, &mut times)
            .await
            .context("sessions")?;
        Ok(times)
    }
}

/// A person with an address of its own: of the teller with this number, and with this place among its people.
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
    let registered = patiently(async || at.register(&input).await);
    let client = registered
        .await
        .with_context(|| format!("{name} cannot register"))?;
    Ok((client, email))
}

fn new_op_id() -> Result<OpId> {
    Ok(uuid::Uuid::now_v7().to_string().parse()?)
}

/// Waits until it is so for this person at each instance; gives how long that took at each.
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

/// Whether an answer was this refusal; anything else that is refused is an error.
fn is_refused<T>(answer: Result<T, Error>, code: ErrorCode) -> Result<bool, Error> {
    match answer {
        Ok(_) => Ok(false),
        Err(error) if error.code() == Some(code) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Not yet, when nothing is known because the server is busy.
fn is_or_busy(answer: Result<bool, Error>) -> Result<bool, Error> {
    match answer {
        Err(error) if error.is_retryable() => Ok(false),
        known => known,
    }
}

/// As any client does: a release that stops may refuse for a moment.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    retry::patiently(PATIENCE, call).await
}
