//! Connections to the relational database, with the durability that acknowledged writes need.

use super::{StoreError, postgres, private};
use anyhow::{Context, anyhow};
use roost_migrations::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, QueryResult,
    RuntimeErr, SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector, Statement,
    TransactionOptions, TransactionTrait,
    sqlx::{
        self, ConnectOptions,
        postgres::PgPool,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};
use std::{
    fs::{File, TryLockError},
    future::Future,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// How many connections to `PostgreSQL` an instance holds at most.
pub(super) const POSTGRES_CONNECTIONS_MAX: u32 = 20;
const SQLITE_READERS_MAX: u32 = 4;
/// How long a caller waits for a connection, which on `SQLite` is the queue for its one writer.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for another instance that migrates the same database.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(2);
/// The length of an SQL standard error code; the codes of `SQLite` are shorter numbers.
const SQLSTATE_CHARS: usize = 5;
/// The lock under which the schema is migrated, among a `PostgreSQL` server's advisory locks ("roost" in ASCII).
const MIGRATION_LOCK: i64 = 0x72_6f_6f_73_74;

/// The relational database. On `SQLite` all writes share one connection, because `SQLite` has one writer, and `read`
/// cannot write. On `PostgreSQL` both are the same pool.
#[derive(Clone, Debug)]
pub struct Sql {
    pub read: DatabaseConnection,
    pub write: DatabaseConnection,
}

impl Sql {
    /// Connects to `sqlite:path` (created if it does not exist) or `postgres://…`.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            Self::connect_sqlite(sqlite_options(url)?).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Self::connect_postgres(url).await
        } else {
            Err(StoreError::Broken(anyhow!(
                "the database URL must begin with sqlite: or postgres:"
            )))
        }
    }

    /// Connects to `SQLite` for reading only; creates no file.
    pub(super) async fn connect_for_reading(url: &str) -> Result<Self, StoreError> {
        let options = sqlite_options(url)?.create_if_missing(false);
        let pool = SqlitePoolOptions::new()
            .acquire_timeout(SQLITE_ACQUIRE_TIMEOUT)
            .max_connections(1)
            .connect_with(options.read_only(true))
            .await
            .map_err(unavailable)?;
        let both = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        Ok(Self {
            read: both.clone(),
            write: both,
        })
    }

    async fn connect_sqlite(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        private::prepare(options.get_filename())
            .with_context(|| format!("cannot use {}", options.get_filename().display()))
            .map_err(unavailable)?;
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(SQLITE_ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = options.clone().journal_mode(SqliteJournalMode::Wal);
        let write = pool().max_connections(1).connect_with(writer).await;
        let reader = options.pragma("query_only", "ON");
        let read = pool()
            .max_connections(SQLITE_READERS_MAX)
            .connect_lazy_with(reader);
        Ok(Self {
            read: SqlxSqliteConnector::from_sqlx_sqlite_pool(read),
            write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write.map_err(unavailable)?),
        })
    }

    async fn connect_postgres(url: &str) -> Result<Self, StoreError> {
        Ok(Self::of_postgres(postgres::connect(url).await?))
    }

    fn of_postgres(pool: PgPool) -> Self {
        let both = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        Self {
            read: both.clone(),
            write: both,
        }
    }

    /// The connections of the journal. On `PostgreSQL` the journal has its own pool: a caller that waits for a room's
    /// lock holds a connection of the common pool while the lock's holder waits for the journal. On `SQLite` both share
    /// the one writer.
    pub(super) async fn for_journal(self) -> Result<Self, StoreError> {
        if self.backend() == DbBackend::Sqlite {
            return Ok(self);
        }
        let pool_of_all = self.write.get_postgres_connection_pool();
        Ok(Self::of_postgres(
            postgres::connect_journal(pool_of_all).await?,
        ))
    }

    /// Checks that the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.read.ping().await?)
    }

    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Begins a transaction that may write. On `SQLite` it takes the write lock at once (IMMEDIATE), because a read
    /// lock that is upgraded later fails instead of waiting.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let sqlite = self.backend() == DbBackend::Sqlite;
        let options = || TransactionOptions {
            sqlite_transaction_mode: sqlite.then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        on_living_connection(
            || self.write.begin_with_options(options()),
            is_dead_connection,
        )
        .await
    }

    /// Reads rows outside of any transaction.
    pub(super) async fn read_all(&self, query: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let read = || self.read.query_all_raw(query.clone());
        on_living_connection(read, is_dead_connection).await
    }

    /// Reads one row, if there is one, outside of any transaction.
    pub(super) async fn read_one(&self, query: Statement) -> Result<Option<QueryResult>, DbErr> {
        let read = || self.read.query_one_raw(query.clone());
        on_living_connection(read, is_dead_connection).await
    }

    /// Brings the schema to this release. Instances that start together take turns.
    ///
    /// A database that a later release has migrated is left unchanged: this release runs on it.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        if self.migrations().await?.pending.is_empty() {
            return Ok(());
        }
        if self.backend() == DbBackend::Sqlite {
            let transaction = self.begin().await?;
            Migrator::up(&transaction, None).await?;
            return commit(transaction).await;
        }
        match tokio::time::timeout(MIGRATION_TIMEOUT, self.migrate_postgres()).await {
            Ok(migrated) => migrated,
            Err(_) => Err(StoreError::Unavailable(anyhow!(
                "migrating took longer than {} s, or another instance held the lock that long",
                MIGRATION_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Migrates over separate connections, because a migration may take longer than the statement timeout.
    async fn migrate_postgres(&self) -> Result<(), StoreError> {
        let pool_of_all = self.write.get_postgres_connection_pool();
        let pool = postgres::connect_migrating(pool_of_all).await?;
        let mut lock = pool.acquire().await.map_err(unavailable)?;
        // Raw SQL: the query calls a `PostgreSQL` function and reads no table.
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *lock)
            .await
            .map_err(unavailable)?;
        let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool.clone());
        let migrated = Migrator::up(&connection, None).await;
        // The advisory lock belongs to its connection and ends with it.
        lock.close().await.map_err(unavailable)?;
        pool.close().await;
        Ok(migrated?)
    }
}

/// Commits. After an error the outcome is unknown, unless the database refused with a reason.
pub(super) async fn commit(transaction: DatabaseTransaction) -> Result<(), StoreError> {
    transaction
        .commit()
        .await
        .map_err(|error| match refusal(&error) {
            Some(code) if is_contention(&code) => StoreError::Contended(error.into()),
            _ => StoreError::OutcomeUnknown(error.into()),
        })
}

impl From<DbErr> for StoreError {
    /// For all statements but a commit: an uncommitted transaction wrote nothing.
    fn from(error: DbErr) -> Self {
        if let Some(code) = refusal(&error) {
            return if is_contention(&code) {
                Self::Contended(error.into())
            } else if is_passing(&code) {
                Self::Unavailable(error.into())
            } else {
                Self::Broken(error.into())
            };
        }
        let is_outage = is_dead_connection(&error)
            || matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_))
            || matches!(
                cause(&error),
                Some(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
            );
        if is_outage {
            Self::Unavailable(error.into())
        } else {
            Self::Broken(error.into())
        }
    }
}

/// Repeats work without effects (a read, a BEGIN) while it meets dead connections: after a restart of the database each
/// pooled connection is dead.
pub(super) async fn on_living_connection<T, E, F: Future<Output = Result<T, E>>>(
    work: impl Fn() -> F,
    is_dead: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut done = work().await;
    for _ in 0..POSTGRES_CONNECTIONS_MAX {
        match &done {
            Err(error) if is_dead(error) => done = work().await,
            _ => break,
        }
    }
    done
}

/// Whether a pooled connection has died, perhaps after a final error of the server (`PostgreSQL` 57P01 to 57P05: it
/// stops, it crashed, the session was idle).
pub(super) fn is_dead_connection(error: &DbErr) -> bool {
    cause(error).is_some_and(is_dead)
}

/// The same for an error of sqlx.
pub(super) fn is_dead(cause: &sqlx::Error) -> bool {
    match cause {
        sqlx::Error::Database(refusal) => {
            refusal.code().is_some_and(|code| code.starts_with("57P"))
        }
        _ => matches!(
            cause,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// The error code of the database, when the database itself refused.
fn refusal(error: &DbErr) -> Option<String> {
    match cause(error) {
        Some(sqlx::Error::Database(refusal)) => Some(refusal.code().unwrap_or_default().into()),
        _ => None,
    }
}

/// The error of sqlx inside one of sea-orm.
fn cause(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => Some(cause),
        _ => None,
    }
}

/// Whether another transaction was in the way: `PostgreSQL` class 40 (rolled back), `SQLite` busy (5) and locked (6).
fn is_contention(code: &str) -> bool {
    match sqlite_code(code) {
        Some(primary) => matches!(primary, 5 | 6),
        None => code.starts_with("40"),
    }
}

/// Whether an error is temporary: `PostgreSQL` classes 08 (connection), 25006 (read-only while failing over), 53
/// (resources), 55P03 (lock), 57 (cancelled, stopping); `SQLite` I/O (10) and full (13).
fn is_passing(code: &str) -> bool {
    match sqlite_code(code) {
        Some(primary) => matches!(primary, 10 | 13),
        None => {
            ["08", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class))
                || matches!(code, "25006" | "55P03")
        }
    }
}

/// The primary code of a `SQLite` error: the low byte of its extended code.
fn sqlite_code(code: &str) -> Option<u32> {
    if code.len() == SQLSTATE_CHARS {
        return None;
    }
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

pub(super) fn unavailable(error: impl Into<anyhow::Error>) -> StoreError {
    StoreError::Unavailable(error.into())
}

pub(super) fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(StoreError::Broken(anyhow!(
            "an SQLite database in memory keeps nothing: name a file"
        )));
    }
    let options =
        SqliteConnectOptions::from_str(url).map_err(|error| StoreError::Broken(error.into()))?;
    Ok(options
        .create_if_missing(true)
        .busy_timeout(STATEMENT_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        // On macOS an ordinary fsync leaves data in the drive's cache; other systems ignore this setting.
        .pragma("fullfsync", "ON")
        .foreign_keys(true)
        .disable_statement_logging())
}

/// Keeps every other process away from one `SQLite` file until the lock is dropped.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Locks a file beside the `SQLite` database of this URL; `None` for other databases. Two instances on one file would
/// each act as the only one, and clients of one would miss the changes of the other.
pub fn lock_data(url: &str) -> Result<Option<DataLock>, StoreError> {
    if !url.starts_with("sqlite:") {
        return Ok(None);
    }
    let path = lock_path(&sqlite_options(url)?)?;
    let file = private::open(&path)
        .with_context(|| format!("cannot open the lock file {}", path.display()))
        .map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DataLock { _file: file })),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(anyhow!(
            "another process uses this SQLite database ({} is locked): stop it first, or give \
             every instance one PostgreSQL database and Redis",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

/// The lock file, beside the database with links resolved, so that two names of one database share one lock. The
/// database file itself is never opened: closing it would release `SQLite`'s own locks
/// (<https://sqlite.org/howtocorrupt.html> §2.2).
fn lock_path(options: &SqliteConnectOptions) -> Result<PathBuf, StoreError> {
    let named = options.get_filename();
    let folder = named
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        private::make_folder(folder)
            .with_context(|| format!("cannot make the data folder {}", folder.display()))
            .map_err(unavailable)?;
    }
    let resolved = named.canonicalize().or_else(|_| {
        let folder = folder.unwrap_or(".".as_ref()).canonicalize()?;
        Ok::<_, std::io::Error>(folder.join(named.file_name().unwrap_or_default()))
    });
    let mut path = resolved.map_err(unavailable)?.into_os_string();
    path.push(".lock");
    Ok(path.into())
}
