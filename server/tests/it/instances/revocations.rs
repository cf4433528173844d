//! C7: what ended on one instance has ended on all: within a second, and within three when Redis is
//! down or an announcement was lost. Deadlines here are five times that.

use crate::support::{Cable, Person, Server, Via, Watch, World, message, redis_url};
use reqwest::Method;
use roost_client::Socket;
use roost_schema::{ChangeRole, ErrorCode, Role, RoomId};
use roost_server::{app::Actor, live::Link};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;

const ANNOUNCED: Duration = Duration::from_secs(5);
const POLLED: Duration = Duration::from_secs(15);

/// Two servers on one database, the second on a cable to Redis.
struct Pair {
    world: World,
    one: Server,
    two: Server,
    redis: Cable,
}

impl Pair {
    async fn start() -> Self {
        let world = World::on_postgres_and_redis().await;
        let redis = Cable::to(&redis_url()).await;
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
    // This one says nothing to the others, as if it was killed after it committed.
    let silent = pair.world.instance().await;
    let signed_in = laptop.signed_in();
    let actor = Actor {
        user_id: laptop.id(),
        session_id: signed_in.session.id,
        expires_at: signed_in.access_expires_at,
    };
    let end = async || silent.app.logout(&actor).await.unwrap();
    is_over(&laptop, board, Via::SocketIo, POLLED, end).await;
}

/// A person watches and is refused, on REST, GraphQL and what they watch by, once their session ends.
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

/// With which code REST and GraphQL refuse the access token a person has.
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
                // A socket stays; it is told that it is in the room no more.
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
        // The journal fences: not a moment later than the change was acknowledged.
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
