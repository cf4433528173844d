//! Connections to `PostgreSQL`: their settings, with which a frozen or vanished instance soon loses its locks, and how
//! the connections of the journal differ.

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
/// How long after it was sent a statement may still be committed; no other store takes longer. By the settings below
/// the server keeps a silent host's connection for 4 s, and then the statement may run.
pub(super) const STATEMENT_LONGEST: Duration = Duration::from_secs(4 + STATEMENT_TIMEOUT.as_secs());
/// How long a connection may be idle before it is pinged when it is taken from the pool: an idle one may be dead.
const PINGED_AFTER_IDLE: Duration = Duration::from_secs(1);

/// The settings of every connection.
///
/// * A transaction that is idle for 3 s is ended, because its instance may have frozen.
/// * A silent host is probed after 2 s and given up at 4 s, because it may have vanished. On a Unix socket the server
///   ignores these four settings.
/// * No plan is compiled (JIT): compiling takes a hundred times as long as running the plan.
const SETTINGS: [(&str, &str); 7] = [
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "3000"),
    ("tcp_keepalives_idle", "2"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "2"),
    ("tcp_user_timeout", "4000"),
    ("jit", "off"),
];

/// The settings of the journal's connections. Each statement there is made for one index, and these settings leave no
/// other plan, whatever the statistics say.
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
    let options = PgConnectOptions::from_str(&without_unknown(url))
        .map_err(|error| StoreError::Broken(error.into()))?;
    let options = options
        .application_name("roost")
        .options([("statement_timeout", STATEMENT_TIMEOUT.as_millis())])
        .options(SETTINGS)
        .disable_statement_logging();
    let pool = pool().connect_with(options).await;
    pool.map_err(unavailable)
}

/// The parameters of an address that the library reads.
const PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// The address without the parameters that the library does not know. It would log them with their values, and one may
/// be a password whose name is misspelt.
fn without_unknown(url: &str) -> String {
    let Some((address, parameters)) = url.split_once('?') else {
        return url.to_owned();
    };
    let is_known = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        let is_known = PARAMETERS.contains(&name) || name.starts_with("options[");
        if !is_known {
            tracing::warn!(
                name,
                "a parameter of the database's address is not known, and has no effect"
            );
        }
        is_known
    };
    let known: Vec<&str> = parameters.split('&').filter(is_known).collect();
    format!("{address}?{}", known.join("&"))
}

/// Opens the journal's own connections to the same database.
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

/// Opens two connections for migrations, which may take longer than the statement timeout of the others.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_taken_out_of_an_address() {
        for (url, known) in [
            ("postgres://db/roost", "postgres://db/roost"),
            (
                "postgres://db/roost?sslmode=require&PassWord=s3cret&options[jit]=on",
                "postgres://db/roost?sslmode=require&options[jit]=on",
            ),
            ("postgres://db/roost?s3cret", "postgres://db/roost?"),
        ] {
            assert_eq!(without_unknown(url), known);
        }
    }
}
