//! Write transactions, repeated under contention, and the statements in them.

use super::{
    Sql, StoreError,
    sql::{commit, is_dead_connection, on_living_connection},
};
use backon::{ExponentialBuilder, Retryable};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value, sea_query::Expr};
use std::{future::Future, sync::Arc, time::Duration};

/// How often a transaction is repeated after others were in its way, and the pauses between.
const CONTENTION_RETRIES: usize = 8;
const CONTENTION_PAUSE_MIN: Duration = Duration::from_millis(5);
const CONTENTION_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Does some work in its own transaction, which is repeated while other transactions are in the way. `Work` owns the
/// transaction instead of borrowing it: the compiler cannot show that a future which borrows from a closure's argument
/// is `Send`.
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

/// Commits a transaction that was shared with some work, which has ended and released it.
pub(super) async fn commit_shared(transaction: Arc<DatabaseTransaction>) -> Result<(), StoreError> {
    let lent = || StoreError::Broken(anyhow::anyhow!("the work kept its transaction"));
    commit(Arc::into_inner(transaction).ok_or_else(lent)?).await
}

/// Repeats a whole transaction a bounded number of times while it is [`StoreError::Contended`].
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

/// Reads; repeats the read on another connection when a pooled one has died.
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

/// Database time as an SQL expression: microseconds since 1970, at the time of the statement.
pub(super) fn now_us(connection: &impl ConnectionTrait) -> &'static str {
    match connection.get_database_backend() {
        // Precise to the millisecond; the first number is 1970 as a Julian day.
        DbBackend::Sqlite => "CAST((julianday('now') - 2440587.5) * 86400000000 AS integer)",
        _ => "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    }
}

/// [`now_us`] for an entity's query.
pub(super) fn now(connection: &impl ConnectionTrait) -> Expr {
    Expr::cust(now_us(connection))
}

/// The end of a SELECT that locks its rows. Empty on `SQLite`, which has one writer.
pub(super) fn for_update(connection: &impl ConnectionTrait) -> &'static str {
    match connection.get_database_backend() {
        DbBackend::Sqlite => "",
        _ => " FOR UPDATE",
    }
}
