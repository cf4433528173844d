//! How a server stops: kept connections learn of it, begun requests are finished, acknowledged writes are durable, and
//! nothing delays the exit.

use crate::support::{DEADLINE, Person, Server, Via, World, eventually, message};
use roost_server::{
    config::{AFTER_DRAIN, STOP_TIME_MAX, load_from},
    transport::socketio::DRAIN_TIME,
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const ASK: &[u8] = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

/// The first process of a container ignores a signal that it has no handler for.
#[tokio::test]
async fn one_that_is_still_starting_stops_at_once_and_in_order() {
    let world = World::on_sqlite().await;
    let nobody = ("database_url", "postgres://roost@127.0.0.1:1/roost");
    let mut program = world.begin_program(&[nobody, ("journal_url", ""), ("redis_url", "")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(program.terminate().await.success());
}

#[tokio::test]
async fn a_connection_that_is_kept_is_closed_with_the_next_answer() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("drain_delay", "3s")]).await;
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    let answer = ask(&mut kept).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");

    server.begin_stopping();
    eventually(async || status(&server, "/readyz").await == 503).await;
    // A kept connection is still served, because a proxy may not have noticed yet.
    let answer = ask(&mut kept).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let mut rest = Vec::new();
    let end = timeout(DEADLINE, kept.read_to_end(&mut rest)).await;
    assert_eq!(end.expect("it is closed").unwrap(), 0);
    server.stop().await;
}

#[tokio::test]
async fn what_is_acknowledged_while_the_program_stops_is_durable() {
    const WRITERS: u64 = 16;
    let world = World::on_sqlite().await;
    let limits = [
        ("address_requests_per_second", "100000"),
        ("account_requests_per_second", "100000"),
    ];
    let mut program = world.start_program(&limits).await;
    let alice = Person::register(&program.endpoint, "alice").await;
    let room = alice.board("Plan").await.id;
    let write = async |number: u64| {
        let mut sent = Vec::new();
        loop {
            let text = format!("{number} {}", sent.len());
            match alice.send(Via::Rest, room, message(&text)).await {
                Ok(written) => sent.push(written),
                Err(_) => return sent,
            }
        }
    };
    let writing = futures::future::join_all((0..WRITERS).map(write));
    let stop = async {
        // The signal comes in the middle of the writes.
        eventually(async || {
            let read = alice.list_events(room, None).await;
            read.is_ok_and(|read| read.position.seq.0 > WRITERS)
        })
        .await;
        program.terminate().await
    };
    let (sent, status) = tokio::join!(writing, stop);
    assert!(status.success(), "{status}");
    program.start_again().await;
    let sent = sent.concat();
    assert!(!sent.is_empty());
    for message in sent {
        let read = alice.read_message(room, message.id).await.unwrap();
        assert_eq!(read, message);
    }
}

#[tokio::test]
async fn whoever_does_not_read_or_write_does_not_hold_the_exit() {
    let world = World::on_sqlite().await;
    let server = world.serve_with(&[("drain_timeout", "1s")]).await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    let token = alice.access_token().await.unwrap();
    // A body that never ends, and a stream that its client does not read.
    let mut half = TcpStream::connect(server.address).await.unwrap();
    let begun = "POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                 content-length: 100\r\n\r\n{";
    half.write_all(begun.as_bytes()).await.unwrap();
    let mut unread = TcpStream::connect(server.address).await.unwrap();
    let begun = format!(
        "GET /api/v1/rooms/{room}/stream HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
        token.expose()
    );
    unread.write_all(begun.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    unread.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    let begun = Instant::now();
    server.stop().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1) + AFTER_DRAIN, "{took:?}");
}

#[test]
fn the_times_of_a_stop_add_up() {
    let load = |keys: &[(&str, &str)]| {
        let keys = keys
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        load_from(None, keys)
    };
    let longest = |keys| {
        let config = load(keys).unwrap().config;
        config.drain_delay + config.drain_timeout + AFTER_DRAIN
    };
    assert_eq!(STOP_TIME_MAX, Duration::from_secs(25));
    assert!(longest(&[]) <= STOP_TIME_MAX);
    // The sockets are drained first and leave enough time for the requests that were begun.
    let with_requests = DRAIN_TIME + Duration::from_secs(5);
    assert!(with_requests <= load(&[]).unwrap().config.drain_timeout);
    // The settings of the cluster behind Caddy.
    assert!(longest(&[("drain_delay", "3s")]) <= STOP_TIME_MAX);
    let problems = load(&[("drain_delay", "3s"), ("drain_timeout", "16s")]).unwrap_err();
    assert!(problems.0[0].starts_with("drain_delay"), "{problems}");
}

/// Asks on a kept connection, and reads the head and the body of the answer.
async fn ask(connection: &mut TcpStream) -> String {
    connection.write_all(ASK).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\"alive\"") {
        let read = timeout(DEADLINE, connection.read_u8()).await;
        answer.push(char::from(read.expect("an answer comes").unwrap()));
    }
    answer
}

async fn status(server: &Server, path: &str) -> u16 {
    let request = server.endpoint.request(reqwest::Method::GET, path);
    request.send().await.unwrap().status().as_u16()
}
