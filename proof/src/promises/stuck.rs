//! C10 of docs/delivery.md: a client on each transport that has stopped reading does not slow down the others.

use super::{
    people::{Pair, People, placed},
    presence::Polling,
};
use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use roost_client::{Client, Socket};
use roost_schema::{OpId, RoomEvents, SendMessageToRoom};
use roost_testbed::cluster::Cluster;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

/// More messages than all buffers on the way to a reader can hold.
const MESSAGES: usize = 1_200;
const MESSAGE_BYTES: usize = 8 * 1_024;
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// Writes in flight at a time: fewer than a mailbox holds.
const WINDOW: usize = 16;
const RECEIVE_BUFFER_BYTES: u32 = 4 * 1_024;
const ALL_READ_WITHIN: Duration = Duration::from_mins(2);

pub(super) async fn check(people: &People, cluster: &Cluster) -> Result<()> {
    let pair = people.pairs.first().context("there is a trial")?;
    // The trial takes longer than a token that is about to expire.
    pair.watcher.refresh().await?;
    pair.person.refresh().await?;
    let mut stuck = vec![
        on_socketio(pair, cluster).await?,
        on_graphql(pair, cluster).await?,
        on_sse(pair, cluster).await?,
    ];
    let polling = Polling::open(&pair.person).await?;
    let join = format!("420{}", json!(["room:join", { "room": pair.room }]));
    polling.post(&pair.person, join).await?;

    let mut healthy = Vec::new();
    for index in 0..cluster.instances().len() {
        let endpoint = roost_client::Endpoint::new(&cluster.instances()[index].url())?;
        healthy.push(pair.watch(Some(&endpoint)).await?);
    }
    let mut subscription = pair.watcher.subscribe_room(pair.room, None).await?;
    let mut stream = pair.watcher.stream_room(pair.room, None).await?;
    subscription.next_events().await?;
    stream.next_events().await?;
    let began = Instant::now();
    let sockets = async { futures::future::try_join_all(healthy.iter_mut().map(read_all)).await };
    let subscribed = async {
        let mut count = 0;
        while count < MESSAGES {
            count += subscription
                .next_events()
                .await?
                .context("it goes on")?
                .events
                .len();
        }
        anyhow::Ok(())
    };
    let streamed = async {
        let mut count = 0;
        while count < MESSAGES {
            count += stream.next_events().await?.events.len();
        }
        anyhow::Ok(())
    };
    let all = async { tokio::try_join!(flood(pair), sockets, subscribed, streamed) };
    let read = timeout(ALL_READ_WITHIN, all).await;
    read.context("somebody who reads was held up")?
        .context("somebody who reads was closed")?;
    println!(
        "C10  with one stuck reader on each of four transports, {MESSAGES} messages were read by 5 others in {:.1} s; \
         none was closed",
        began.elapsed().as_secs_f64()
    );
    let lagging = count_lagging(cluster)?;
    // Only the two stuck Socket.IO clients may be lagging.
    ensure!(lagging <= 2, "{lagging} sockets are lagging");
    for stream in &mut stuck {
        stream.shutdown().await.ok();
    }
    Ok(())
}

async fn read_all(socket: &mut Socket) -> Result<()> {
    let mut count = 0;
    while count < MESSAGES {
        let event = socket
            .next_event()
            .await
            .context("a socket that reads was closed")?;
        if event.name == "room:events" {
            count += event.read::<RoomEvents>()?.events.len();
        }
    }
    Ok(())
}

/// Sends each message as one operation, retried until it is acknowledged.
async fn flood(pair: &Pair) -> Result<()> {
    let socket = Socket::connect(&placed(&pair.person, None)?).await?;
    let sending = (0..MESSAGES).map(|number| {
        let socket = &socket;
        async move {
            let op_id: OpId = format!("flood-{number}").parse()?;
            let input = SendMessageToRoom {
                room: pair.room,
                text: format!("{number} {}", "x".repeat(MESSAGE_BYTES)),
                id: None,
                op_id: Some(op_id),
            };
            loop {
                match socket.call::<_, Value>("message:send", &input).await {
                    Ok(_) => return anyhow::Ok(()),
                    Err(error) if error.is_retryable() => {
                        sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    });
    futures::stream::iter(sending)
        .buffer_unordered(WINDOW)
        .try_collect::<()>()
        .await
}

fn count_lagging(cluster: &Cluster) -> Result<u64> {
    let mut lagging = 0;
    for index in 0..cluster.instances().len() {
        let metrics = cluster.metrics(index)?;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("roost_sockets_lagging "));
        lagging += line.context("no such metric")?.trim().parse::<u64>()?;
    }
    Ok(lagging)
}

async fn on_socketio(pair: &Pair, cluster: &Cluster) -> Result<TcpStream> {
    let path = "/socket.io/?EIO=4&transport=websocket";
    let mut stream = upgrade(&pair.person, cluster, path, "").await?;
    let token = pair.person.access_token().await?;
    until(&mut stream, "pingInterval").await?;
    write(
        &mut stream,
        &format!("40{}", json!({ "token": token.expose() })),
    )
    .await?;
    until(&mut stream, "40{").await?;
    let join = json!(["room:join", { "room": pair.room }]);
    write(&mut stream, &format!("420{join}")).await?;
    until(&mut stream, "430[").await?;
    Ok(stream)
}

async fn on_graphql(pair: &Pair, cluster: &Cluster) -> Result<TcpStream> {
    let protocol = "Sec-WebSocket-Protocol: graphql-transport-ws\r\n";
    let mut stream = upgrade(&pair.person, cluster, "/graphql", protocol).await?;
    let token = pair.person.access_token().await?;
    let bearer = format!("Bearer {}", token.expose());
    let init = json!({ "type": "connection_init", "payload": { "Authorization": bearer } });
    write(&mut stream, &init.to_string()).await?;
    until(&mut stream, "connection_ack").await?;
    let query =
        "subscription($room: RoomId!) { roomEvents(room: $room) { position events { seq body } } }";
    let subscribe = json!({
        "type": "subscribe", "id": "1",
        "payload": { "query": query, "variables": { "room": pair.room } },
    });
    write(&mut stream, &subscribe.to_string()).await?;
    until(&mut stream, "position").await?;
    Ok(stream)
}

async fn on_sse(pair: &Pair, cluster: &Cluster) -> Result<TcpStream> {
    let mut stream = connect(&pair.person, cluster).await?;
    let token = pair.person.access_token().await?;
    let request = format!(
        "GET /api/v1/rooms/{}/stream HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         accept: text/event-stream\r\n\r\n",
        pair.room,
        token.expose()
    );
    stream.write_all(request.as_bytes()).await?;
    until(&mut stream, "data:").await?;
    Ok(stream)
}

async fn upgrade(
    client: &Client,
    cluster: &Cluster,
    path: &str,
    further: &str,
) -> Result<TcpStream> {
    let mut stream = connect(client, cluster).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{further}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    until(&mut stream, "\r\n\r\n").await?;
    Ok(stream)
}

/// Connects to Caddy from the client's own address, with a small receive buffer.
async fn connect(client: &Client, cluster: &Cluster) -> Result<TcpStream> {
    let own = client.endpoint().local_address().context("it has one")?;
    let address: SocketAddr = cluster.url().trim_start_matches("http://").parse()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(SocketAddr::new(own, 0))?;
    Ok(socket.connect(address).await?)
}

/// Writes one text frame (RFC 6455 §5.2). Clients must mask; a mask of zeros changes nothing.
async fn write(stream: &mut TcpStream, text: &str) -> Result<()> {
    const TEXT: u8 = 0x81;
    const MASKED: u8 = 0x80;
    const LENGTH_FOLLOWS: u8 = 0x7e;
    const SHORT_MAX: usize = 125;
    let mut frame = vec![TEXT];
    if text.len() <= SHORT_MAX {
        frame.push(MASKED | u8::try_from(text.len())?);
    } else {
        frame.push(MASKED | LENGTH_FOLLOWS);
        frame.extend(u16::try_from(text.len())?.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    Ok(stream.write_all(&frame).await?)
}

/// Reads until the stream contains `wanted`.
async fn until(stream: &mut TcpStream, wanted: &str) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let reading = async {
        let mut received = Vec::new();
        let mut byte = [0; 1];
        loop {
            ensure!(
                stream.read(&mut byte).await? == 1,
                "closed instead of {wanted}"
            );
            received.push(byte[0]);
            if received.ends_with(wanted.as_bytes()) {
                return Ok(());
            }
        }
    };
    timeout(PATIENCE, reading)
        .await
        .with_context(|| format!("{wanted:?} does not come"))?
}
