//! Builds the running server from its parts. The only file that names concrete backends; the program
//! and the tests boot the same way.

mod commands;
mod tasks;

pub use commands::{audit_journal, change_epoch, dump_journal, migrate};

use crate::{
    app::{self, App, Passwords, TokenSettings, Tokens},
    config::{self, Config, SigningKey},
    live::{Live, NodeContext, Redis, RedisBackplane, RedisPresence},
    store::{
        Clock, DataLock, Sql, Store, StoreError,
        journal::{
            Journal, JournalError, MeasuredJournal, MongoJournal, QuarantiningJournal, SqlJournal,
        },
        lock_data,
    },
    telemetry,
    transport::{self, Shared, serve::Serving},
};
use anyhow::Context;
use axum::{Router, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use roost_schema::{InstanceId, Secret};
use sea_orm::DbBackend;
use secrecy::ExposeSecret;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tasks::Background;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a start waits for stores that cannot be reached, and how long between two tries.
const STORES_PATIENCE: Duration = Duration::from_secs(10);
const STORES_PAUSE: Duration = Duration::from_millis(500);
/// How long background tasks may take to finish when the last connection is closed, and how long the tasks of the
/// stores may take after them.
const TASKS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long blocking work, such as a password that is being hashed, may delay the exit.
pub const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);
/// How long deleting this instance's row in the database may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
const _: () = assert!(
    2 * TASKS_TIMEOUT.as_secs() + LEAVE_TIMEOUT.as_secs() + RUNTIME_TIMEOUT.as_secs()
        <= config::AFTER_DRAIN.as_secs(),
    "a server stops in time, whatever it waits for"
);

/// A server that is bound to its address and not yet serving.
pub struct Server {
    /// Where clients connect; the port is known even when 0 was configured.
    pub address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    /// The use cases, for tests that look behind the transports.
    pub app: App,
    shared: Shared,
    serving: Serving,
    metrics: Option<Serving>,
    drain_delay: Duration,
    drain_timeout: Duration,
    background: Background,
    /// Stopped last: a task that ends may still write to the stores.
    stores: Background,
    /// Cancelling it stops the server in order.
    stop: CancellationToken,
    /// Ends the background tasks when it is dropped, also if the server was never served.
    _gone: DropGuard,
    _lock: Option<DataLock>,
}

/// Connects, migrates, checks the stores, binds the addresses and starts the background tasks.
pub async fn boot(config: Config) -> anyhow::Result<Server> {
    let metrics = telemetry::metrics()?;
    let id = InstanceId::generate();
    telemetry::sign_logs(id.to_string());
    let lock = lock_data(config.database_url.expose())?;
    let (background, stores) = (Background::default(), Background::default());
    let gone = background.cancel.clone().drop_guard();
    let store = retry_unavailable(async || open_stores(&config, &stores).await).await?;
    let redis = open_redis(&config)?;
    let app = compose(&config, id, store, redis.as_ref(), &background).await?;
    app.join_instances().await?;
    retry_unavailable(async || Ok(app.load_revocations().await?)).await?;
    let stop = CancellationToken::new();
    let shared = Shared::new(
        &config,
        redis.as_ref(),
        app.instance_id().to_string().into(),
        background.tasks.clone(),
    );
    let router = transport::router(&app, &shared);

    let listener = bind("listen", config.listen).await?;
    let address = listener.local_addr()?;
    let (metrics, metrics_address) = match config.metrics_listen {
        Some(wanted) => {
            let listener = bind("metrics_listen", wanted).await?;
            let bound = listener.local_addr()?;
            let kept = metrics.clone();
            background.spawn(|until| tasks::keep_metrics(kept, until));
            let router = metrics_router(metrics, app.clone(), shared.clone());
            let router = transport::guard_private(router, wanted);
            let serving = Serving::new(listener, router, &config, &shared);
            (Some(serving), Some(bound))
        }
        None => (None, None),
    };
    tasks::spawn_local(&background, &app, &shared);
    tasks::spawn_cluster(&background, &app, &stop);
    Ok(Server {
        address,
        metrics_address,
        app,
        serving: Serving::new(listener, router, &config, &shared),
        metrics,
        shared,
        drain_delay: config.drain_delay,
        drain_timeout: config.drain_timeout,
        background,
        stores,
        stop,
        _gone: gone,
        _lock: lock,
    })
}

impl Server {
    /// Cancel it to stop the server as a signal would.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves until it is stopped: not ready first, then sockets are sent elsewhere, then no new
    /// connections, then the requests that were begun are finished, then the background tasks.
    pub async fn serve(self) -> anyhow::Result<()> {
        tracing::info!(address = %self.address, "serving");
        let stopping = async {
            self.stop.cancelled().await;
            tracing::info!("stopping");
            self.shared.health.drain();
            tokio::time::sleep(self.drain_delay).await;
            self.shared.closing.cancel();
            tokio::time::sleep(self.drain_timeout).await;
            self.shared.drained.cancel();
            self.shared.cut.cancel();
            std::future::pending::<()>().await;
        };
        let metrics = async {
            if let Some(metrics) = self.metrics {
                metrics.run().await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(self.serving.run(), metrics) } => {}
            () = stopping => {}
        }
        self.background.end().await;
        self.app.leave_instances().await;
        self.stores.end().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Repeats a step of the start while a store is unavailable: stores that start at the same time may be ready later.
async fn retry_unavailable<T>(open: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + STORES_PATIENCE;
    loop {
        let error = match open().await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let is_passing = error.chain().any(|cause| {
            matches!(cause.downcast_ref(), Some(StoreError::Unavailable(_)))
                || matches!(cause.downcast_ref(), Some(JournalError::Unavailable(_)))
                || matches!(cause.downcast_ref(), Some(app::Error::Unavailable(_)))
        });
        if !is_passing || Instant::now() + STORES_PAUSE > deadline {
            return Err(error);
        }
        tracing::warn!(
            error = format!("{error:#}"),
            "a store cannot be reached yet, trying again"
        );
        tokio::time::sleep(STORES_PAUSE).await;
    }
}

async fn open_sql(config: &Config) -> anyhow::Result<Sql> {
    let sql = Sql::connect(config.database_url.expose())
        .await
        .context("the database at database_url cannot be reached")?;
    sql.migrate()
        .await
        .context("the database cannot be migrated")?;
    Ok(sql)
}

async fn open_stores(config: &Config, stores: &Background) -> anyhow::Result<Store> {
    let sql = open_sql(config).await?;
    let journal = open_journal(config, &sql, stores).await?;
    journal.verify().await?;
    let clock = Clock::measured(&sql).await?;
    Ok(Store::new(sql, QuarantiningJournal::wrap(journal), clock))
}

async fn open_journal(
    config: &Config,
    sql: &Sql,
    stores: &Background,
) -> anyhow::Result<Arc<dyn Journal>> {
    if let Some(url) = &config.journal_url {
        let opened = MongoJournal::open(url.expose()).await;
        let opened = opened.context("the journal at journal_url cannot be opened")?;
        return Ok(MeasuredJournal::wrap(opened, "mongodb"));
    }
    let name = match sql.backend() {
        DbBackend::Sqlite => "sqlite",
        _ => "postgres",
    };
    let opened = SqlJournal::open(sql.clone(), &stores.tasks, stores.cancel.clone()).await?;
    Ok(MeasuredJournal::wrap(opened, name))
}

async fn compose(
    config: &Config,
    id: InstanceId,
    store: Store,
    redis: Option<&Redis>,
    background: &Background,
) -> anyhow::Result<App> {
    let place = take_place(config, id, redis, background);
    let journal = Arc::clone(&store.journal);
    let (tasks, cancel) = (background.tasks.clone(), background.cancel.clone());
    let live = Live::new(journal, place, tasks, cancel);
    let (clock, sql) = (store.clock.clone(), store.sql.clone());
    background.spawn(async move |until| clock.keep_measured(&sql, &until).await);
    let settings = TokenSettings {
        issuer: config.token_issuer.clone(),
        audience: config.token_audience.clone(),
        lifetime: config.access_token_lifetime,
    };
    let keys = retry_unavailable(async || signing_keys(config, &store).await).await?;
    let tokens = Tokens::new(settings, &keys)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(App::new(store, live, tokens, Passwords::new(cores)))
}

async fn signing_keys(config: &Config, store: &Store) -> anyhow::Result<Vec<Secret>> {
    let mut keys = Vec::new();
    let configured = match config.signing_key_pem.0.as_slice() {
        [] => &[SigningKey::Database],
        configured => configured,
    };
    for key in configured {
        keys.push(match key {
            SigningKey::Pem(pem) => Secret::new(pem.expose_secret()),
            SigningKey::Database => store.keys.shared(&Tokens::generate_key()?).await?,
        });
    }
    Ok(keys)
}

/// Errors: the address is malformed. Redis itself need not be up.
fn open_redis(config: &Config) -> anyhow::Result<Option<Redis>> {
    let Some(url) = &config.redis_url else {
        return Ok(None);
    };
    let opened = Redis::open(url.expose(), &config.redis_prefix);
    Ok(Some(opened.context("redis_url cannot be used")?))
}

fn take_place(
    config: &Config,
    id: InstanceId,
    redis: Option<&Redis>,
    background: &Background,
) -> NodeContext {
    let mut place = NodeContext::alone();
    place.id = id;
    place.name = match config.instance_name.as_str() {
        "" => host_name(),
        name => name.to_owned(),
    };
    tracing::info!(instance.name = place.name, "this instance");
    if let Some(redis) = redis.cloned() {
        let Background { tasks, cancel } = background;
        let (backplane, arrivals) = RedisBackplane::start(redis.clone(), id, tasks, cancel);
        let (carrier, peers) = (Arc::clone(&backplane), Arc::clone(&place.peers));
        place.presence = RedisPresence::start(redis, id, carrier, peers, tasks, cancel.clone());
        place.backplane = Some((backplane, arrivals));
        place.is_joining = true;
    }
    place
}

fn host_name() -> String {
    let host = rustix::system::uname();
    host.nodename().to_string_lossy().into_owned()
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: {address} cannot be listened on"))
}

fn metrics_router(handle: PrometheusHandle, app: App, shared: Shared) -> Router {
    let process = metrics_process::Collector::default();
    let render = async move || {
        process.collect();
        transport::sample(&app, &shared);
        handle.render()
    };
    Router::new().route("/metrics", get(render))
}
