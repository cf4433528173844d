//! Connections that the server closes in order: commands that it began get their replies first, later ones are refused,
//! and the journal has exactly the acknowledged ones.

use crate::support::{Person, TcpProxy, World, eventually};
use futures::future::join_all;
use roost_client::{Error, GraphQlSocket, Result, Socket};
use roost_schema::{ErrorCode, MessageState, RoomId, SendMessageToRoom};
use roost_server::store::Sql;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The delay of each way between server and store: a commit takes 50 ms and more.
const STORE_DELAY: Duration = Duration::from_millis(25);
/// How long a writer waits after a reply before it writes again.
const PACE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answers_every_command_it_began() {
    const SOCKETS: usize = 50;
    const GRAPHQL_SOCKETS: usize = 20;
    let world = World::on_postgres().await;
    let proxy = TcpProxy::to(world.database_url()).await;
    let keys = [("database_url", proxy.url())];
    let keys = keys.each_ref().map(|(name, url)| (*name, url.as_str()));
    let server = world.serve_one_with(&keys).await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let writers = Writer::connect(&alice, SOCKETS, GRAPHQL_SOCKETS).await;
    proxy.slow(STORE_DELAY);
    let stop = async {
        head_passes(&alice, room, 200).await;
        server.begin_stopping();
    };
    let (tally, ()) = tokio::join!(Tally::of(&writers, room, Duration::ZERO), stop);
    server.stop().await;

    let again = world.serve_one_with(&[]).await;
    tally.check(&alice.at(&again.endpoint), room).await;
    assert_eq!(tally.unanswered, BTreeSet::new());
    assert_eq!(tally.refusals, BTreeSet::from(["unavailable"]));
}

/// A stopping server also waits for a commit that takes longer than any before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_has_time_for_a_commit_that_takes_its_own() {
    const COMMIT_TIME: Duration = Duration::from_millis(1_600);
    const SOCKETS: usize = 20;
    const GRAPHQL_SOCKETS: usize = 20;
    let world = World::on_postgres().await;
    let server = world.serve_one_with(&[]).await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let writers = Writer::connect(&alice, SOCKETS, GRAPHQL_SOCKETS).await;
    let database = Sql::connect(world.database_url()).await.unwrap();
    let holder = database.write.begin().await.unwrap();
    // With this lock reads go on and appends wait.
    let hold = "LOCK TABLE journal IN SHARE MODE";
    holder.execute_unprepared(hold).await.unwrap();
    let writing = join_all(writers.iter().map(|writer| writer.send(room, "last")));
    let stop = async {
        tokio::time::sleep(PACE).await;
        server.begin_stopping();
        tokio::time::sleep(COMMIT_TIME).await;
        holder.commit().await.unwrap();
    };
    let (written, ()) = tokio::join!(writing, stop);
    server.stop().await;

    let lost: Vec<_> = written.iter().filter(|answer| answer.is_err()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_whose_token_expires_is_answered_every_command_it_began() {
    const SOCKETS: usize = 6;
    const GRAPHQL_SOCKETS: usize = 6;
    let world = World::on_postgres().await;
    let proxy = TcpProxy::to(world.database_url()).await;
    let keys = [
        ("database_url", proxy.url()),
        ("access_token_lifetime", "10s".to_owned()),
    ];
    let keys = keys.each_ref().map(|(name, text)| (*name, text.as_str()));
    let server = world.serve_one_with(&keys).await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let writers = Writer::connect(&alice, SOCKETS, GRAPHQL_SOCKETS).await;
    proxy.slow(STORE_DELAY);
    let tally = Tally::of(&writers, room, Duration::ZERO).await;
    proxy.mend();

    tally.check(&alice, room).await;
    assert_eq!(tally.unanswered, BTreeSet::new());
    assert_eq!(tally.refusals, BTreeSet::from(["unauthenticated"]));
}

/// The fenced instance could still reach the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_fenced_answers_every_command_it_began() {
    const SOCKETS: usize = 20;
    const GRAPHQL_SOCKETS: usize = 10;
    let world = World::on_cluster().await;
    let proxy = TcpProxy::to(world.database_url()).await;
    let one = world.serve_one_with(&[]).await;
    let two = world
        .serve_one_with(&[("database_url", &proxy.url())])
        .await;
    let alice = one.alice().await;
    let room = alice.board("Plan").await.id;
    let writers = Writer::connect(&alice.at(&two.endpoint), SOCKETS, GRAPHQL_SOCKETS).await;
    let cut_off = async {
        head_passes(&alice, room, 100).await;
        proxy.freeze();
    };
    let (tally, ()) = tokio::join!(Tally::of(&writers, room, PACE), cut_off);
    // The gate refuses writes a little before the fence shuts, so that no write outlasts it.
    eventually(async || two.app.fence().is_shut()).await;

    tally.check(&alice, room).await;
    // The instance did not begin commands that arrived after the cut, because their sessions may have ended.
    assert!(tally.refusals.is_subset(&BTreeSet::from(["unavailable"])));
}

/// Waits until the room's head has passed `seq`.
async fn head_passes(reader: &Person, room: RoomId, seq: u64) {
    eventually(async || {
        let read = reader.list_events(room, None).await;
        read.is_ok_and(|read| read.position.seq.0 > seq || !read.live)
    })
    .await;
}

enum Writer {
    Socket(Socket),
    GraphQl(GraphQlSocket),
}

impl Writer {
    async fn connect(person: &Person, sockets: usize, graphql: usize) -> Vec<Self> {
        let mut writers = Vec::new();
        for _ in 0..sockets {
            let socket = Socket::connect(person.client()).await.unwrap();
            writers.push(Self::Socket(socket));
        }
        for _ in 0..graphql {
            let socket = GraphQlSocket::connect(person.client()).await.unwrap();
            writers.push(Self::GraphQl(socket));
        }
        writers
    }

    /// Sends without an operation id, so that a command without a reply cannot be retried safely.
    async fn send(&self, room: RoomId, text: &str) -> Result<()> {
        match self {
            Self::Socket(socket) => {
                let input = SendMessageToRoom {
                    room,
                    text: text.to_owned(),
                    id: None,
                    op_id: None,
                };
                socket.send_message(&input).await.map(drop)
            }
            Self::GraphQl(socket) => {
                let query = "mutation($room: RoomId!, $input: SendMessage!) {
                    sendMessage(room: $room, input: $input) { id } }";
                let variables = json!({ "room": room, "input": { "text": text } });
                socket.run::<_, Value>(query, &variables).await.map(drop)
            }
        }
    }
}

/// The outcomes of all commands.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: BTreeSet<String>,
    unanswered: BTreeSet<String>,
    refusals: BTreeSet<&'static str>,
}

impl Tally {
    /// Each writer writes in a loop, until its first command that is not acknowledged.
    async fn of(writers: &[Writer], room: RoomId, pace: Duration) -> Self {
        let writing = writers
            .iter()
            .enumerate()
            .map(|(number, writer)| async move {
                let mut tally = Self::default();
                for count in 0.. {
                    let text = format!("{number}.{count}");
                    match writer.send(room, &text).await {
                        Ok(()) => tally.acknowledged.insert(text),
                        Err(Error::Refused(failure)) => {
                            let is_retryable = failure.code.is_retryable();
                            assert_eq!(
                                failure.retry_after_ms.is_some(),
                                is_retryable,
                                "{failure:?}"
                            );
                            assert_ne!(failure.code, ErrorCode::OutcomeUnknown);
                            tally.refusals.insert(failure.code.as_str());
                            break;
                        }
                        Err(_) => {
                            tally.unanswered.insert(text);
                            break;
                        }
                    };
                    tokio::time::sleep(pace).await;
                }
                tally
            });
        let mut all = Self::default();
        for tally in join_all(writing).await {
            all.acknowledged.extend(tally.acknowledged);
            all.unanswered.extend(tally.unanswered);
            all.refusals.extend(tally.refusals);
        }
        all
    }

    /// Checks that no acknowledged command is missing, and that no refused one was written.
    async fn check(&self, reader: &Person, room: RoomId) {
        let mut written = BTreeSet::new();
        let mut after = None;
        loop {
            let page = reader.list_events(room, after).await.unwrap();
            for event in page.events {
                if let Ok(MessageState { text, .. }) = event.body.decode() {
                    assert!(written.insert(text), "written twice");
                }
            }
            if page.live {
                break;
            }
            after = Some(page.position);
        }
        assert!(!written.is_empty());
        let missing: Vec<_> = self.acknowledged.difference(&written).collect();
        assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
        let silent: Vec<_> = written.difference(&self.acknowledged).collect();
        assert!(silent.is_empty(), "written without an answer: {silent:?}");
    }
}
