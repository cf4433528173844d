//! Write transactions: running one again, and the statements in one.

use super::{
    Sql, StoreError,
    sql::{commit, is_dead_connection, on_living_connection},
};
use backon::{ExponentialBuilder, Retryable};
use chrono::{DateTime, Utc};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, Value, sea_query::Expr,
};
use std::{future::Future, sync::Arc, time::Duration};

/// How often a transaction is run again after others got in its way, and how long it waits between.
const CONTENTION_RETRIES: usize = 8;
const CONTENTION_PAUSE_MIN: Duration = Duration::from_millis(5);
const CONTENTION_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Does some work in a transaction of its own, which is run again when others got in its way. The
/// work holds the transaction, rather than borrow it: the compiler cannot show of a future that
/// borrows from a closure's argument that it may move between threads.
pub(super) async fn transact<T, Work, Attempt>(sql: &Sql, work: Work) -> Result<T, StoreError>
where
    Work: Fn(Arc<DatabaseTransaction>) -> Attempt,
    Attempt: Future<Output = Result<T, StoreError>>,
{
    retried(|| async {
        let transaction = Arc::new(sql.begin().await?);
        let done = work(Arc::clone(&transaction)).await?;
        commit_shared(transaction).await?;
        Ok(done)
    })
    .await
}

/// Commits a transaction that work was lent, and has given back by ending.
pub(super) async fn commit_shared(transaction: Arc<DatabaseTransaction>) -> Result<(), StoreError> {
    let lent = || StoreError::Broken(anyhow::anyhow!("the work kept its transaction"));
    commit(Arc::into_inner(transaction).ok_or_else(lent)?).await
}

/// Runs a whole transaction again, a bounded number of times, while it is [`StoreError::Contended`].
pub(super) async fn retried<T, Work, Attempt>(work: Work) -> Result<T, StoreError>
where
    Work: FnMut() -> Attempt,
    Attempt: Future<Output = Result<T, StoreError>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(CONTENTION_PAUSE_MIN)
        .with_max_delay(CONTENTION_PAUSE_MAX)
        .with_max_times(CONTENTION_RETRIES)
        .with_jitter();
    work.retry(pauses)
        .when(|error| matches!(error, StoreError::Contended(_)))
        .await
}

/// Reads, on another connection when a pooled one turns out to have died in the meantime.
pub(super) async fn reading<T, E, Attempt>(work: impl Fn() -> Attempt) -> Result<T, StoreError>
where
    StoreError: From<E>,
    Attempt: Future<Output = Result<T, E>>,
{
    let is_dead = |error: &StoreError| match error {
        StoreError::Unavailable(cause) => cause.downcast_ref().is_some_and(is_dead_connection),
        _ => false,
    };
    on_living_connection(|| async { Ok(work().await?) }, is_dead).await
}

/// A statement with its values as `$1`, `$2`, …, which both databases understand.
pub(super) fn statement<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

/// Runs a statement and answers how many rows it changed.
pub(super) async fn execute<const N: usize>(
    connection: &impl ConnectionTrait,
    sql: &str,
    values: [Value; N],
) -> Result<u64, StoreError> {
    let done = connection
        .execute_raw(statement(connection, sql, values))
        .await?;
    Ok(done.rows_affected())
}

/// Database time as an expression, in microseconds since 1970, as of the statement it stands in.
pub(super) fn now_us(connection: &impl ConnectionTrait) -> &'static str {
    match connection.get_database_backend() {
        // Precise to the millisecond; the first number is 1970 as a Julian day.
        DbBackend::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000000 AS integer)",
        _ => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    }
}

/// [`now_us`] in a query of an entity.
pub(super) fn now(connection: &impl ConnectionTrait) -> Expr {
    Expr::cust(now_us(connection))
}

/// What a SELECT ends with to lock its rows. `SQLite` needs nothing: it has one writer.
pub(super) fn for_update(connection: &impl ConnectionTrait) -> &'static str {
    match connection.get_database_backend() {
        DbBackend::Sqlite => "",
        _ => " FOR UPDATE",
    }
}

/// Reads a time, kept as microseconds since 1970.
pub(super) fn time(row: &QueryResult, column: &str) -> Result<DateTime<Utc>, StoreError> {
    let kept: i64 = row.try_get("", column)?;
    DateTime::from_timestamp_micros(kept)
        .ok_or_else(|| StoreError::unreadable(anyhow::anyhow!("time {kept}")))
}
