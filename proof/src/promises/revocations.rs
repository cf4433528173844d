//! C7 of docs/delivery.md: how soon after its acknowledgement an ended session or a removed member has no access on any
//! instance.

use super::{
    Figure,
    people::{PATIENCE, Pair, People, placed},
};
use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use reqwest::Method;
use roost_client::{Client, Endpoint, EventStream, Socket, Subscription};
use roost_schema::{ChangeRole, ErrorCode, InviteMember, Role, RoomId, SendMessage};
use roost_testbed::cluster::{Cluster, Redis};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const REVOKED: Duration = Duration::from_secs(1);
const REVOKED_WITHOUT_REDIS: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many trials run at a time; each polls every instance.
const AT_ONCE: usize = 5;

pub(super) async fn measure(
    people: &People,
    redis: Redis,
    cluster: &mut Cluster,
) -> Result<Vec<Figure>> {
    let at_most = match redis {
        Redis::Running => REVOKED,
        Redis::Off => REVOKED_WITHOUT_REDIS,
    };
    let mut ended = Figure::new(
        "C7",
        "a session that ended is out on REST and live",
        at_most,
    );
    let mut removed = Figure::new("C7", "a removed member is out on REST and live", at_most);
    let mut demoted = Figure::new("C7", "a member made a viewer writes nowhere", at_most);
    let instances = cluster.instances().iter();
    let instances = instances.map(|instance| Ok(Endpoint::new(&instance.url())?));
    let instances = instances.collect::<Result<Vec<_>>>()?;
    for pairs in people.pairs.chunks(AT_ONCE) {
        let trials = pairs.iter().map(|pair| end_session(pair, &instances));
        ended.times.extend(try_join_all(trials).await?);
        let trials = pairs.iter().map(|pair| demote(pair, &instances));
        demoted.times.extend(try_join_all(trials).await?);
        let trials = pairs.iter().map(|pair| remove(pair, &instances));
        removed.times.extend(try_join_all(trials).await?);
    }
    Ok(vec![ended, demoted, removed])
}

async fn end_session(pair: &Pair, instances: &[Endpoint]) -> Result<Duration> {
    let laptop = pair.another_device().await?;
    let live = Live::follow(&laptop, pair.room).await?;
    let token = laptop.access_token().await?;
    let session = laptop.signed_in().session.id;
    pair.person.revoke_session(session).await?;
    let began = Instant::now();
    let out = instances.iter().map(async |instance| {
        let own = laptop.endpoint().local_address().context("it has one")?;
        let instance = instance.from_address(own)?;
        until(async || {
            let request = instance.request(Method::GET, "/api/v1/me");
            let answer = request.bearer_auth(token.expose()).send().await?;
            Ok(answer.status() == 401)
        })
        .await
    });
    tokio::try_join!(live.ends(), try_join_all(out))?;
    Ok(began.elapsed())
}

/// Measures until the person's messages are refused: the role is judged at the message's place in the journal.
async fn demote(pair: &Pair, instances: &[Endpoint]) -> Result<Duration> {
    let member = pair.person.user_id();
    pair.watcher
        .change_role(pair.room, member, &to(Role::Viewer))
        .await?;
    let began = Instant::now();
    let out = instances.iter().map(async |instance| {
        let person = placed(&pair.person, Some(instance))?;
        let message = SendMessage {
            text: "still here".to_owned(),
            id: None,
            op_id: None,
        };
        until(
            async || match person.send_message(pair.room, &message).await {
                Ok(_) => Ok(false),
                Err(error) if error.code() == Some(ErrorCode::Forbidden) => Ok(true),
                Err(error) => Err(error.into()),
            },
        )
        .await
    });
    try_join_all(out).await?;
    let took = began.elapsed();
    pair.watcher
        .change_role(pair.room, member, &to(Role::Editor))
        .await?;
    Ok(took)
}

const fn to(role: Role) -> ChangeRole {
    ChangeRole { role, op_id: None }
}

async fn remove(pair: &Pair, instances: &[Endpoint]) -> Result<Duration> {
    let live = Live::follow(&pair.person, pair.room).await?;
    let member = pair.person.user_id();
    pair.watcher.remove_member(pair.room, member, None).await?;
    let began = Instant::now();
    let out = instances.iter().map(async |instance| {
        let person = placed(&pair.person, Some(instance))?;
        until(async || Ok(person.read_room(pair.room).await.is_err())).await
    });
    tokio::try_join!(live.ends(), try_join_all(out))?;
    let took = began.elapsed();
    let invitation = InviteMember {
        email: None,
        user_id: Some(member),
        role: Role::Editor,
        op_id: None,
    };
    pair.watcher.invite_member(pair.room, &invitation).await?;
    Ok(took)
}

pub(super) async fn until(is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await? {
        if Instant::now() > deadline {
            bail!("an instance goes on letting them in");
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// One person who follows a room on every transport.
pub(super) struct Live {
    socket: Socket,
    subscription: Subscription,
    stream: EventStream,
}

impl Live {
    pub(super) async fn follow(client: &Client, room: RoomId) -> Result<Self> {
        let socket = Socket::connect(client).await?;
        socket.join(room, None).await?;
        let mut subscription = client.subscribe_room(room, None).await?;
        subscription.next_events().await?;
        let mut stream = client.stream_room(room, None).await?;
        stream.next_events().await?;
        Ok(Self {
            socket,
            subscription,
            stream,
        })
    }

    /// Resolves when each connection has ended.
    pub(super) async fn ends(mut self) -> Result<()> {
        let socket = async {
            while let Some(event) = self.socket.next_event().await {
                if event.name == "room:closed" {
                    break;
                }
            }
        };
        let subscription =
            async { while let Ok(Some(_)) = self.subscription.next_events().await {} };
        let stream = async { while self.stream.next_events().await.is_ok() {} };
        let all = async { tokio::join!(socket, subscription, stream) };
        timeout(PATIENCE, all)
            .await
            .context("a live way in did not end")?;
        Ok(())
    }
}
