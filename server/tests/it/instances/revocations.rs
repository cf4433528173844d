//! C7 of docs/delivery.md: a session that ended on one instance has ended on all within a second, and within three when
//! Redis is down or an announcement was lost. Deadlines here are five times that.

use crate::support::{Person, Server, TcpProxy, Via, Watch, World, eventually, message, redis_url};
use chrono::TimeDelta;
use reqwest::Method;
use roost_client::Socket;
use roost_schema::{ChangeRole, ErrorCode, Role, RoomId, SessionId};
use roost_server::{
    app::{Actor, Api},
    live::Link,
    store::Horizon,
};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;
use std::{future::ready, time::Duration};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const ANNOUNCED: Duration = Duration::from_secs(5);
const POLLED: Duration = Duration::from_secs(15);

/// Two servers on one database; the second reaches Redis through a proxy.
struct Pair {
    world: World,
    one: Server,
    two: Server,
    redis: TcpProxy,
}

impl Pair {
    async fn start() -> Self {
        let world = World::on_postgres_and_redis().await;
        let redis = TcpProxy::to(&redis_url()).await;
        let one = world.serve_one_with(&[]).await;
        let two = world.serve_one_with(&[("redis_url", &redis.url())]).await;
        crate::support::eventually(async || {
            let is_up = |server: &Server| server.app.link().is_some_and(Link::is_up);
            is_up(&one) && is_up(&two)
        })
        .await;
        Self {
            world,
            one,
            two,
            redis,
        }
    }
}

#[tokio::test]
async fn a_session_ended_on_one_instance_is_over_on_the_other() {
    let pair = Pair::start().await;
    let phone = pair.one.alice().await;
    let board = phone.board("Plan").await.id;
    for via in Via::ALL {
        let laptop = phone.sign_in().await.at(&pair.two.endpoint);
        let session = laptop.signed_in().session.id;
        let end = async || phone.revoke_session(session).await.unwrap();
        is_over(&laptop, board, via, ANNOUNCED, end).await;
    }
}

#[tokio::test]
async fn it_is_over_without_redis() {
    let pair = Pair::start().await;
    let phone = pair.one.alice().await;
    let board = phone.board("Plan").await.id;
    pair.redis.refuse();
    for via in Via::ALL {
        let laptop = phone.sign_in().await.at(&pair.two.endpoint);
        let session = laptop.signed_in().session.id;
        let end = async || phone.revoke_session(session).await.unwrap();
        is_over(&laptop, board, via, POLLED, end).await;
    }
}

#[tokio::test]
async fn it_is_over_when_the_announcement_was_lost() {
    let pair = Pair::start().await;
    let laptop = pair.two.alice().await;
    let board = laptop.board("Plan").await.id;
    // This instance announces nothing, as if it was killed after it committed.
    let silent = pair.world.instance().await;
    let signed_in = laptop.signed_in();
    let actor = Actor {
        user_id: laptop.id(),
        session_id: signed_in.session.id,
        expires_at: signed_in.access_expires_at,
        api: Api::Rest,
    };
    let end = async || silent.app.logout(&actor).await.unwrap();
    is_over(&laptop, board, Via::SocketIo, POLLED, end).await;
}

/// A row has the time at which it was written, and becomes visible when its transaction commits.
#[tokio::test]
async fn it_is_over_however_long_its_transaction_took() {
    let world = World::on_postgres().await;
    let here = world.instance().await;
    here.app.load_revocations().await.unwrap();
    let session = SessionId::generate();
    let end = here.app.session_end(session);
    let long = world.sql.write.begin().await.unwrap();
    let unlimited = "SET LOCAL idle_in_transaction_session_timeout = 0";
    long.execute_unprepared(unlimited).await.unwrap();
    let five_minutes_ago = format!(
        "INSERT INTO revocations (session_id, at_us) VALUES ('{session}',
            (extract(epoch FROM clock_timestamp() - interval '5 minutes') * 1000000)::bigint)"
    );
    long.execute_unprepared(&five_minutes_ago).await.unwrap();

    let (app, mut tasks) = (here.app.clone(), JoinSet::new());
    tasks.spawn(async move { app.follow_revocations(CancellationToken::new()).await });
    let (mut looks, mut last) = (0, Duration::ZERO);
    eventually(|| {
        let age = here.app.fence().age().unwrap();
        looks += u32::from(age < last);
        last = age;
        ready(looks >= 3)
    })
    .await;
    assert!(!end.is_cancelled());
    long.commit().await.unwrap();
    timeout(POLLED, end.cancelled())
        .await
        .expect("it is seen once it is visible");
}

/// The previous release does not know the column: its rows get a transaction number by default. Rows from before the
/// column have none, and are read by their time.
#[tokio::test]
async fn rows_of_the_release_before_are_seen() {
    let world = World::on_postgres().await;
    let revocations = world.instance().await.store.revocations;
    let half_a_minute = TimeDelta::seconds(30);
    let (first, numbered, old) = (
        SessionId::generate(),
        SessionId::generate(),
        SessionId::generate(),
    );
    let now = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let insert = async |session: SessionId, columns: &str, values: &str| {
        let sql = format!(
            "INSERT INTO revocations (session_id, at_us{columns}) VALUES ('{session}', {now}{values})"
        );
        world.execute(&sql, vec![]).await;
    };
    insert(first, "", "").await;
    let look = revocations.list(half_a_minute).await.unwrap();
    assert_eq!(look.ended, [first]);
    insert(numbered, "", "").await;
    insert(old, ", xact", ", NULL").await;
    // Another test's open transaction may keep the first revocation in the answer, too.
    let since = revocations.list_since(look.horizon, half_a_minute).await;
    let since = since.unwrap().ended;
    assert!(
        since.contains(&numbered) && since.contains(&old),
        "{since:?}"
    );
    let by_time_only = revocations.list_since(Horizon::MAX, half_a_minute).await;
    assert_eq!(by_time_only.unwrap().ended, [old]);
}

/// Checks that a session has ended: REST and GraphQL refuse the person, and their watch ends.
async fn is_over(
    person: &Person,
    room: RoomId,
    via: Via,
    deadline: Duration,
    end: impl AsyncFnOnce(),
) {
    let mut watch = person.watch(via, room, None).await.unwrap();
    assert_eq!(answers(person).await, [None; 2]);
    end().await;
    let over = async {
        while watch.next().await.is_ok() {}
        while answers(person).await != [Some(ErrorCode::SessionRevoked); 2] {
            tokio::task::yield_now().await;
        }
    };
    let over = timeout(deadline, over).await;
    assert!(over.is_ok(), "it goes on after {deadline:?} by {via:?}");
}

/// The error codes with which REST and GraphQL refuse the person's access token.
async fn answers(person: &Person) -> [Option<ErrorCode>; 2] {
    let request = person.ask(Method::GET, "/api/v1/me").await;
    let rest: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let request = person.ask(Method::POST, "/graphql").await;
    let request = request.json(&json!({ "query": "{ me { id } }" }));
    let graphql: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    [&rest["code"], &graphql["errors"][0]["extensions"]["code"]]
        .map(|code| serde_json::from_value(code.clone()).ok())
}

#[tokio::test]
async fn who_is_removed_on_one_instance_hears_nothing_more_on_the_other() {
    let pair = Pair::start().await;
    let (alice, bob) = (pair.one.alice().await, pair.two.bob().await);
    for via in Via::ALL {
        let board = alice.board("Plan").await.id;
        alice.invite(board, &bob, Role::Editor).await;
        let mut watch = bob.watch(via, board, None).await.unwrap();
        alice.remove_member(board, bob.id(), None).await.unwrap();
        let over = async {
            match &mut watch {
                // A socket stays open, and receives that it is no longer in the room.
                Watch::Socket(socket) => closed(socket).await,
                other => while other.next().await.is_ok() {},
            }
            let refused = bob.send(via, board, message("still here?")).await;
            assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::NotFound));
        };
        timeout(ANNOUNCED, over).await.expect("they are out");
    }
}

#[tokio::test]
async fn a_lower_role_holds_on_the_other_instance() {
    let pair = Pair::start().await;
    let (alice, bob) = (pair.one.alice().await, pair.two.bob().await);
    let board = alice.board("Plan").await.id;
    alice.invite(board, &bob, Role::Editor).await;
    for (via, role, refusal) in [
        (Via::Rest, Role::Viewer, Some(ErrorCode::Forbidden)),
        (Via::GraphQl, Role::Editor, None),
        (Via::SocketIo, Role::Viewer, Some(ErrorCode::Forbidden)),
    ] {
        let input = ChangeRole { role, op_id: None };
        alice.change_role(board, bob.id(), &input).await.unwrap();
        // The sequencer fences: from the moment of the acknowledgement no write is accepted.
        let sent = bob.send(via, board, message("me")).await;
        assert_eq!(
            sent.err().and_then(|error| error.code()),
            refusal,
            "{via:?}"
        );
    }
}

async fn closed(socket: &mut Socket) {
    while let Some(event) = socket.next_event().await {
        if event.name == "room:closed" {
            return;
        }
    }
    panic!("the socket itself stays");
}
