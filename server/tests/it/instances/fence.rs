//! The fence: an instance that cannot read which sessions have ended sends and writes nothing, while the others go on.
//! An instance that was suspended shuts its fence before it sends anything.

use crate::support::{Person, Server, TcpProxy, Via, Watch, World, eventually, message};
use reqwest::{Method, StatusCode};
use roost_client::{Error, EventStream, Socket};
use roost_schema::{ErrorCode, Role, SendMessageToRoom, ServerClosing};
use roost_server::live::FENCE_AFTER;
use sea_orm::{ConnectionTrait, Statement};
use std::time::Duration;
use tokio::time::timeout;

/// Five times the limit of C7 in docs/delivery.md for an instance that is cut off.
const FENCED: Duration = Duration::from_secs(50);

#[tokio::test]
async fn an_instance_cut_off_from_the_database_closes_and_its_peer_goes_on() {
    let world = World::on_postgres_and_redis().await;
    let proxy = TcpProxy::to(world.database_url()).await;
    let one = world.serve_one_with(&[]).await;
    let two = world
        .serve_one_with(&[("database_url", &proxy.url())])
        .await;
    let (alice, bob) = (one.alice().await, two.bob().await);
    let board = alice.board("Plan").await.id;
    alice.invite(board, &bob, Role::Editor).await;
    let mut watches = Vec::new();
    for via in Via::ALL {
        watches.push(bob.watch(via, board, None).await.unwrap());
    }
    eventually(async || status(&two, "/readyz").await == StatusCode::OK).await;

    proxy.freeze();
    let closing = async {
        for watch in &mut watches {
            match watch {
                Watch::Socket(socket) => retryable(socket).await,
                other => while other.next().await.is_ok() {},
            }
        }
    };
    timeout(FENCED, closing)
        .await
        .expect("it closes what it holds");
    let request = bob.ask(Method::GET, "/api/v1/me").await;
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "unavailable");
    assert_eq!(handshake(&two).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&two, "/livez").await, StatusCode::OK);
    eventually(async || status(&two, "/readyz").await == StatusCode::SERVICE_UNAVAILABLE).await;

    assert!(!one.app.fence().is_shut());
    alice.send(Via::Rest, board, message("on")).await.unwrap();
    assert_eq!(status(&one, "/readyz").await, StatusCode::OK);

    proxy.mend();
    eventually(async || status(&two, "/readyz").await == StatusCode::OK).await;
    bob.send(Via::SocketIo, board, message("back"))
        .await
        .unwrap();
}

#[tokio::test]
async fn instances_that_are_cut_off_alike_stay_as_open_as_they_can() {
    let world = World::on_postgres_and_redis().await;
    let proxy = TcpProxy::to(world.database_url()).await;
    let url = proxy.url();
    let keys = [("database_url", url.as_str())];
    let servers = [
        world.serve_one_with(&keys).await,
        world.serve_one_with(&keys).await,
    ];
    for server in &servers {
        eventually(async || status(server, "/readyz").await == StatusCode::OK).await;
    }
    proxy.freeze();
    let past = FENCE_AFTER + Duration::from_secs(3);
    for server in &servers {
        eventually(async || {
            assert!(!server.app.fence().is_shut(), "nobody knows more");
            server.app.fence().age().is_some_and(|age| age > past)
        })
        .await;
        assert_eq!(status(server, "/readyz").await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_process_that_slept_says_and_writes_nothing_before_it_knows_who_was_signed_out() {
    let world = World::on_postgres_and_redis().await;
    let awake = world.serve_one_with(&[]).await;
    let mut sleeper = world.start_program(&[("instance_name", "sleeper")]).await;
    let alice = awake.alice().await;
    let board = alice.board("Plan").await.id;
    let bob = Person::register(&sleeper.endpoint, "bob").await;
    alice.invite(board, &bob, Role::Editor).await;
    let mut stream = bob.stream_room(board, None).await.unwrap();
    let mut socket = Socket::connect(bob.client()).await.unwrap();
    socket.join(board, None).await.unwrap();
    // Both clients received something just now, so neither gives up its connection as silent.
    alice
        .send(Via::Rest, board, message("before"))
        .await
        .unwrap();
    assert!(texts_until(&mut stream, "before").await);
    heard(&mut socket, "before").await;

    sleeper.put_to_sleep();
    let bobs_session = bob.signed_in().session.id;
    bob.at(&awake.endpoint)
        .revoke_session(bobs_session)
        .await
        .unwrap();
    alice
        .send(Via::Rest, board, message("secret"))
        .await
        .unwrap();
    let asking = bob.ask(Method::GET, "/api/v1/me").await.send();
    let input = SendMessageToRoom {
        room: board,
        text: "from the past".into(),
        id: None,
        op_id: None,
    };
    let writing = socket.send_message(&input);
    let waking = async {
        eventually(async || has_slept_past_the_fence(&world).await).await;
        sleeper.wake();
    };
    let (answer, written, ()) = tokio::join!(asking, writing, waking);

    let status = answer.unwrap().status();
    assert!(
        status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::UNAUTHORIZED,
        "{status}"
    );
    assert!(written.is_err(), "{written:?}");
    let reason = crate::support::in_time(stream.next_events())
        .await
        .unwrap_err();
    let told = [
        Some(ErrorCode::SessionRevoked),
        Some(ErrorCode::Unavailable),
    ];
    assert!(told.contains(&reason.code()), "{reason}");
    while let Some(event) = crate::support::in_time(socket.next_event()).await {
        assert_ne!(event.name, "room:events");
    }
    let kept = alice.list_events(board, None).await.unwrap().events;
    let kept = kept
        .iter()
        .map(|event| event.body.as_str().to_owned())
        .collect::<String>();
    assert!(
        kept.contains("secret") && !kept.contains("from the past"),
        "{kept}"
    );
    // The instance serves again without a restart.
    let there = alice.at(&sleeper.endpoint);
    eventually(async || there.send(Via::Rest, board, message("after")).await.is_ok()).await;
}

async fn status(server: &Server, path: &str) -> StatusCode {
    let answer = server.endpoint.request(Method::GET, path).send().await;
    answer.unwrap().status()
}

async fn handshake(server: &Server) -> StatusCode {
    status(server, "/socket.io/?EIO=4&transport=polling").await
}

/// The socket receives that it may come back, and then its connection ends.
async fn retryable(socket: &mut Socket) {
    let mut told = None;
    while let Some(event) = socket.next_event().await {
        if event.name == "server:closing" {
            told = Some(event.read::<ServerClosing>().unwrap().code);
        }
    }
    assert_eq!(told, Some(ErrorCode::Unavailable));
}

async fn texts_until(stream: &mut EventStream, text: &str) -> bool {
    let told = async {
        loop {
            let frame = stream.next_events().await?;
            if frame
                .events
                .iter()
                .any(|event| event.body.as_str().contains(text))
            {
                return Ok::<_, Error>(true);
            }
        }
    };
    crate::support::in_time(told).await.unwrap()
}

async fn heard(socket: &mut Socket, text: &str) {
    let told = async {
        while let Some(event) = socket.next_event().await {
            if event.name == "room:events"
                && event
                    .read::<serde_json::Value>()
                    .unwrap()
                    .to_string()
                    .contains(text)
            {
                return true;
            }
        }
        false
    };
    assert!(crate::support::in_time(told).await);
}

/// The lease, renewed every 3 s, ran out so long ago that the instance has read no revocations for 10 s.
async fn has_slept_past_the_fence(world: &World) -> bool {
    let sql = "SELECT 1 AS one FROM instances WHERE name = 'sleeper' AND lease_us <
               (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 3500000";
    let query = Statement::from_string(world.sql.backend(), sql);
    world.sql.read.query_one_raw(query).await.unwrap().is_some()
}
