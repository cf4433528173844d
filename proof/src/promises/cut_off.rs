//! C7 of docs/delivery.md: how long an instance without its database and Redis still serves sessions that have ended.

use super::{
    Figure,
    people::{Pair, People, placed},
    revocations::{Live, until},
};
use anyhow::{Context, Result};
use futures::future::try_join_all;
use roost_client::{Client, Endpoint};
use roost_testbed::cluster::{Cluster, INSTANCES, Redis};
use std::time::{Duration, Instant};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    pin, select,
    sync::watch,
    task::JoinSet,
};

const CUT_OFF: Duration = Duration::from_secs(10);
/// The instance that is cut off.
const ALONE: usize = INSTANCES - 1;

/// Each guest has a session at the instance that is cut off, and ends it at another instance just after.
pub(super) async fn measure(
    people: &People,
    redis: Redis,
    cluster: &mut Cluster,
) -> Result<Vec<Figure>> {
    let mut proxies = Vec::new();
    for (variable, is_there) in [
        ("ROOST_DATABASE_URL", true),
        ("ROOST_REDIS_URL", redis == Redis::Running),
    ] {
        if is_there {
            proxies.push((variable, TcpProxy::to(cluster.variable(variable)?).await?));
        }
    }
    let urls = proxies
        .iter()
        .map(|(variable, proxy)| (*variable, proxy.url.clone()));
    let urls = urls.collect();
    cluster.terminate(ALONE)?;
    cluster.instance(ALONE)?.restart_with(urls)?;
    let first = Endpoint::new(&cluster.instance(0)?.url())?;
    let alone = Endpoint::new(&cluster.instance(ALONE)?.url())?;

    let mut guests = Vec::new();
    for pair in &people.pairs {
        let guest = placed(&pair.another_device().await?, Some(&alone))?;
        let live = Live::follow(&guest, pair.room).await?;
        guests.push((pair, guest, live));
    }
    for (_, proxy) in &proxies {
        proxy.is_open.send_replace(false);
    }
    let trials = guests
        .into_iter()
        .map(|(pair, guest, live)| end(pair, guest, live, &first));
    let mut figure = Figure::new(
        "C7",
        "nobody is let in by an instance that is cut off",
        CUT_OFF,
    );
    figure.times = try_join_all(trials).await?;
    for (_, proxy) in &proxies {
        proxy.is_open.send_replace(true);
    }
    Ok(vec![figure])
}

async fn end(pair: &Pair, guest: Client, live: Live, first: &Endpoint) -> Result<Duration> {
    let session = guest.signed_in().session.id;
    placed(&pair.person, Some(first))?
        .revoke_session(session)
        .await?;
    let began = Instant::now();
    // The room's entries are in the journal, which the instance still reaches.
    let is_out = until(async || Ok(guest.list_events(pair.room, None).await.is_err()));
    tokio::try_join!(live.ends(), is_out)?;
    Ok(began.elapsed())
}

/// A blockable proxy to a server: while blocked, connections stay open and no byte passes.
struct TcpProxy {
    /// The URL of the server through this proxy.
    url: String,
    is_open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl TcpProxy {
    async fn to(url: &str) -> Result<Self> {
        let server = authority(url).context("a URL has an authority")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let through = url.replacen(&server, &listener.local_addr()?.to_string(), 1);
        let is_open = watch::Sender::new(true);
        let gate = is_open.subscribe();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(&server).await {
                    connections.spawn(pass(client, server, gate.clone()));
                }
            }
        });
        Ok(Self {
            url: through,
            is_open,
            _tasks: tasks,
        })
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, mut gate: watch::Receiver<bool>) {
    let passing = copy_bidirectional(&mut client, &mut server);
    pin!(passing);
    while gate.wait_for(|is_open| *is_open).await.is_ok() {
        select! {
            _ = &mut passing => return,
            _ = gate.wait_for(|is_open| !is_open) => {}
        }
    }
}

/// The `host:port` of a URL.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    authority.rsplit('@').next()
}
