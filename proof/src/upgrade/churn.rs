//! Members and sessions that change through Caddy all the time, also while an instance is being replaced.
//!
//! Each change has an operation id and is retried as long as the server permits. A final refusal is a fault. At the end
//! every instance must list the same members.

use crate::promises::people::placed;
use anyhow::{Context, Result, anyhow, ensure};
use futures::future::join_all;
use roost_client::{Client, Endpoint, Error};
use roost_schema::{
    ChangeRole, InviteMember, Login, OpId, OpenConversation, PageQuery, Register, Role, RoomId,
    Secret, SendMessage,
};
use roost_testbed::cluster::Cluster;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, time::sleep};
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "correct horse battery";
/// Groups of people, each with their own room.
const GROUPS: u8 = 4;
const PAUSE: Duration = Duration::from_millis(500);
const RETRY_WAIT: Duration = Duration::from_millis(150);
const RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) struct Churn {
    /// A thread of their own, so that waiting for a restart does not delay them.
    groups: JoinHandle<Result<Vec<Result<Group>>>>,
    done: CancellationToken,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    changes: AtomicU64,
    sessions: AtomicU64,
    retries: AtomicU64,
}

pub(super) struct Group {
    owner: Client,
    guest: Client,
    guest_email: String,
    room: RoomId,
    tally: Arc<Tally>,
}

impl Churn {
    pub(super) fn begin(groups: Vec<Group>) -> Self {
        let (tally, done) = (Arc::<Tally>::default(), CancellationToken::new());
        let mut groups = groups;
        for group in &mut groups {
            group.tally = Arc::clone(&tally);
        }
        let until = done.clone();
        let groups = thread::spawn(move || {
            let runs = groups.into_iter().map(|group| group.run(&until));
            Ok(Runtime::new()?.block_on(join_all(runs)))
        });
        Self {
            groups,
            done,
            tally,
        }
    }

    /// Prints how much changed; answers the faults.
    pub(super) async fn end(self, cluster: &Cluster) -> Result<Vec<String>> {
        self.done.cancel();
        let ended = self.groups.join();
        let ended = ended.map_err(|_| anyhow!("those who change members panicked"))??;
        let mut faults = Vec::new();
        for group in ended {
            let held = match group {
                Ok(group) => group.hold_against(cluster).await,
                Err(error) => Err(error),
            };
            faults.extend(held.err().map(|error| format!("meanwhile: {error:#}")));
        }
        println!(
            "meanwhile, through Caddy: {} changes of members, {} sessions, {} repeated",
            self.tally.changes.load(SeqCst),
            self.tally.sessions.load(SeqCst),
            self.tally.retries.load(SeqCst),
        );
        Ok(faults)
    }
}

/// Registers the groups, before there is any load.
pub(super) async fn register(url: &str) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for number in 1..=GROUPS {
        groups.push(Group::register(url, number).await?);
    }
    Ok(groups)
}

impl Group {
    async fn register(url: &str, number: u8) -> Result<Self> {
        let endpoint =
            Endpoint::new(url)?.from_address(IpAddr::V4(Ipv4Addr::new(127, 12, 0, number)))?;
        let register = async |role: &str| -> Result<(Client, String)> {
            let email = format!("{role}-{number}@example.net");
            let input = Register {
                email: email.clone(),
                password: Secret::new(PASSWORD),
                name: role.to_owned(),
                op_id: None,
            };
            Ok((endpoint.register(&input).await?, email))
        };
        let (owner, _) = register("owner").await?;
        let (guest, guest_email) = register("guest").await?;
        let input = OpenConversation {
            user_ids: vec![guest.user_id()],
            title: Some(format!("Churn {number}")),
            op_id: None,
        };
        let room = owner.open_conversation(&input).await?.id;
        Ok(Self {
            owner,
            guest,
            guest_email,
            room,
            tally: Arc::default(),
        })
    }

    /// Repeats rounds of changes until `done`; the guest is a member at the end of each round.
    async fn run(self, done: &CancellationToken) -> Result<Self> {
        while !done.is_cancelled() {
            self.change_members().await.context("a membership")?;
            self.sign_in_and_out().await.context("a session")?;
            done.run_until_cancelled(sleep(PAUSE)).await;
        }
        Ok(self)
    }

    async fn change_members(&self) -> Result<()> {
        let (room, guest) = (self.room, self.guest.user_id());
        let op_id = new_op_id()?;
        self.repeat(async || self.owner.remove_member(room, guest, Some(&op_id)).await)
            .await?;
        let invitation = InviteMember {
            email: None,
            user_id: Some(guest),
            role: Role::Viewer,
            op_id: Some(new_op_id()?),
        };
        self.repeat(async || self.owner.invite_member(room, &invitation).await)
            .await?;
        let change = ChangeRole {
            role: Role::Editor,
            op_id: Some(new_op_id()?),
        };
        self.repeat(async || self.owner.change_role(room, guest, &change).await)
            .await?;
        let message = SendMessage {
            text: "in again".to_owned(),
            id: None,
            op_id: Some(new_op_id()?),
        };
        self.repeat(async || self.guest.send_message(room, &message).await)
            .await?;
        self.tally.changes.fetch_add(3, SeqCst);
        Ok(())
    }

    async fn sign_in_and_out(&self) -> Result<()> {
        let login = Login {
            email: self.guest_email.clone(),
            password: Secret::new(PASSWORD),
        };
        let endpoint = self.guest.endpoint();
        let device = self.repeat(async || endpoint.login(&login).await).await?;
        self.repeat(async || device.refresh().await).await?;
        self.repeat(async || device.me().await).await?;
        let session = device.signed_in().session.id;
        // Another session ends it, so that the call can be repeated.
        self.repeat(async || self.guest.revoke_session(session).await)
            .await?;
        self.tally.sessions.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn repeat<T>(&self, call: impl AsyncFn() -> Result<T, Error>) -> Result<T> {
        let began = Instant::now();
        loop {
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() && began.elapsed() < RETRY_MAX => {
                    self.tally.retries.fetch_add(1, SeqCst);
                    sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn hold_against(&self, cluster: &Cluster) -> Result<()> {
        for instance in cluster.instances() {
            let there = placed(&self.owner, Some(&Endpoint::new(&instance.url())?))?;
            let listed = there.list_members(self.room, &PageQuery::default()).await?;
            let mut listed: Vec<_> = listed
                .items
                .iter()
                .map(|it| (it.user_id, it.role))
                .collect();
            listed.sort_by_key(|(user, _)| *user);
            let mut meant = vec![
                (self.owner.user_id(), Role::Owner),
                (self.guest.user_id(), Role::Editor),
            ];
            meant.sort_by_key(|(user, _)| *user);
            ensure!(listed == meant, "{listed:?} are listed, not {meant:?}");
        }
        Ok(())
    }
}

fn new_op_id() -> Result<OpId> {
    Ok(uuid::Uuid::now_v7().to_string().parse()?)
}
