//! Connections to `PostgreSQL`: the settings of each, so that an instance that froze or
//! vanished holds no lock for long, and how the journal's own differ.

use super::{
    StoreError,
    sql::{POSTGRES_CONNECTIONS_MAX, STATEMENT_TIMEOUT, unavailable},
};
use sea_orm::sqlx::{
    ConnectOptions, Connection,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};

/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long after a statement was sent it may be committed, longer than on any other store: for as long the server goes on hearing
/// from a silent host, by the settings below, and then it runs.
pub(super) const STATEMENT_LONGEST: Duration = Duration::from_secs(4 + STATEMENT_TIMEOUT.as_secs());
/// An idle connection may be dead, which only asking tells; one that was just used is not asked.
const PINGED_AFTER_IDLE: Duration = Duration::from_secs(1);

/// The settings of every connection.
///
/// * A transaction that waits for its instance for 3 s is ended: the instance may have frozen.
/// * A host that is silent is asked after 2 s and given up at 4 s: it may have vanished. On a Unix
///   socket the server ignores these four.
/// * No plan is compiled: that takes a hundred times as long as running it does.
const SETTINGS: [(&str, &str); 7] = [
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "3000"),
    ("tcp_keepalives_idle", "2"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "4000"),
    ("jit", "off"),
];

/// The settings of the journal's connections: each statement there is made for one
/// index, and this leaves it no other plan, whatever the statistics say.
const BY_INDEX_ONLY: [(&str, &str); 7] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_sort", "off"),
    ("enable_incremental_sort", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("max_parallel_workers_per_gather", "0"),
];

pub(super) async fn connect(url: &str) -> Result<PgPool, StoreError> {
    let options =
        PgConnectOptions::from_str(url).map_err(|error| StoreError::Broken(error.into()))?;
    let options = options
        .application_name("roost")
        .options([("statement_timeout", STATEMENT_TIMEOUT.as_millis())])
        .options(SETTINGS)
        .disable_statement_logging();
    let pool = pool().connect_with(options).await;
    pool.map_err(unavailable)
}

/// Connections of the journal's own, to the same database.
pub(super) async fn connect_journal(pool_of_all: &PgPool) -> Result<PgPool, StoreError> {
    let options = (*pool_of_all.connect_options()).clone();
    let pool = pool().before_acquire(|connection, pooled| {
        Box::pin(async move {
            let is_alive = pooled.idle_for < PINGED_AFTER_IDLE || connection.ping().await.is_ok();
            Ok(is_alive)
        })
    });
    let pool = pool.connect_with(options.options(BY_INDEX_ONLY)).await;
    pool.map_err(unavailable)
}

/// Two connections for migrating: a migration may take longer than a statement may.
pub(super) async fn connect_migrating(pool_of_all: &PgPool) -> Result<PgPool, StoreError> {
    let options = (*pool_of_all.connect_options()).clone();
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(options.options([("statement_timeout", "0")]))
        .await;
    pool.map_err(unavailable)
}

fn pool() -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
}
