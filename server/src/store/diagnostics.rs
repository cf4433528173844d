//! The state of the relational database for `roost doctor`, read without creating or changing anything.

use super::{
    Exposed, Sql, StoreError, private,
    sql::{POSTGRES_CONNECTIONS_MAX, sqlite_options, unavailable},
};
use roost_migrations::{Migrator, MigratorTrait};
use sea_orm::{
    DbBackend, QueryResult, Statement,
    sqlx::{self, Connection, PgConnection, postgres::PgConnectOptions},
};
use std::str::FromStr;

/// The oldest supported `PostgreSQL`, in the form of its `server_version_num`.
const POSTGRES_VERSION_MIN: i32 = 140_000;
/// The values of `synchronous_commit` with which an acknowledged commit is on disk.
const DURABLE_COMMITS: [&str; 3] = ["on", "remote_write", "remote_apply"];

/// What a database is, and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseDiagnostics {
    /// `PostgreSQL 15.18`.
    pub version: String,
    pub is_supported: bool,
    /// The database follows another one and takes no writes.
    pub is_replica: bool,
    /// Settings with which an acknowledged write could be lost: `fsync = off`.
    pub weak: Vec<String>,
    /// The same for connections of other programs; an instance's own connections override these settings.
    pub weak_for_others: Vec<String>,
    /// How many connections the server takes, and how many of them the pool of one instance may use.
    pub connections: Option<(u32, u32)>,
    pub migrations: Migrations,
}

/// How the schema of a database differs from this release's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrations {
    /// Migrations that this release has and the database lacks.
    pub pending: Vec<String>,
    /// Migrations that the database has and this release does not know: a later release applied them.
    pub unknown: Vec<String>,
}

impl Migrations {
    fn compare(applied: &[String]) -> Self {
        let migrations = Migrator::migrations();
        let known: Vec<&str> = migrations.iter().map(|one| one.name()).collect();
        Self {
            pending: known
                .iter()
                .filter(|name| !applied.iter().any(|one| one == *name))
                .map(|name| (*name).to_owned())
                .collect(),
            unknown: applied
                .iter()
                .filter(|name| !known.contains(&name.as_str()))
                .cloned()
                .collect(),
        }
    }
}

impl Sql {
    /// Connects and reads. `None` when the file of an `SQLite` database does not exist.
    pub async fn examine(url: &str) -> Result<Option<(Self, DatabaseDiagnostics)>, StoreError> {
        if !url.starts_with("sqlite:") {
            let mut condition = examine_postgres(url).await?;
            let sql = Self::connect(url).await?;
            let commit = sql.setting("SELECT current_setting('synchronous_commit') AS value");
            condition.weak.extend(weak_commit(&commit.await?));
            condition.migrations = sql.migrations().await?;
            return Ok(Some((sql, condition)));
        }
        if !sqlite_options(url)?.get_filename().exists() {
            return Ok(None);
        }
        let sql = Self::connect_for_reading(url).await?;
        let mode = sql.setting("SELECT journal_mode AS value FROM pragma_journal_mode");
        let mode = mode.await?;
        let version = sql.setting("SELECT sqlite_version() AS value").await?;
        let condition = DatabaseDiagnostics {
            version: format!("SQLite {version}"),
            is_supported: true,
            is_replica: false,
            weak: (mode != "wal")
                .then(|| format!("journal_mode = {mode}"))
                .into_iter()
                .collect(),
            weak_for_others: Vec::new(),
            connections: None,
            migrations: sql.migrations().await?,
        };
        Ok(Some((sql, condition)))
    }

    /// What other users of the host can read or replace of an `SQLite` database. `None` for other databases.
    pub fn exposed(url: &str) -> Result<Option<Exposed>, StoreError> {
        if !url.starts_with("sqlite:") {
            return Ok(None);
        }
        let options = sqlite_options(url)?;
        let exposed = private::exposed(options.get_filename());
        exposed.map(Some).map_err(unavailable)
    }

    /// How the schema differs from this release's.
    pub async fn migrations(&self) -> Result<Migrations, StoreError> {
        let backend = self.backend();
        // Raw SQL: the query reads the catalogue of the database.
        let is_kept = match backend {
            DbBackend::Sqlite => "SELECT 1 FROM sqlite_schema WHERE name = 'seaql_migrations'",
            _ => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
        };
        let is_kept = self.read_one(Statement::from_string(backend, is_kept));
        if is_kept.await?.is_none() {
            return Ok(Migrations::compare(&[]));
        }
        // Raw SQL: the table is the migrator's, which would create it before it reads it.
        let applied = "SELECT version FROM seaql_migrations ORDER BY version";
        let applied = self.read_all(Statement::from_string(backend, applied));
        let name = |row: &QueryResult| row.try_get("", "version");
        let applied: Result<Vec<String>, _> = applied.await?.iter().map(name).collect();
        Ok(Migrations::compare(&applied?))
    }

    async fn setting(&self, question: &str) -> Result<String, StoreError> {
        // Raw SQL: the questions read settings and no table.
        let row = self.read_one(Statement::from_string(self.backend(), question));
        let row = row.await?;
        let row = row.ok_or_else(|| StoreError::unreadable(anyhow::anyhow!("no answer")))?;
        Ok(row.try_get("", "value")?)
    }
}

/// Reads through one plain connection: its error shows why connecting fails, and its settings are those that other
/// programs get.
async fn examine_postgres(url: &str) -> Result<DatabaseDiagnostics, StoreError> {
    type Row = (String, i32, bool, i32, String, String, String);
    // Raw SQL: the question reads settings and no table.
    const QUESTION: &str = "SELECT current_setting('server_version'),
        current_setting('server_version_num')::int, pg_is_in_recovery(),
        current_setting('max_connections')::int, current_setting('fsync'),
        current_setting('full_page_writes'), current_setting('synchronous_commit')";
    let options =
        PgConnectOptions::from_str(url).map_err(|error| StoreError::Broken(error.into()))?;
    let connection = PgConnection::connect_with(&options).await;
    let mut connection = connection.map_err(unavailable)?;
    let row: Row = sqlx::query_as(QUESTION)
        .fetch_one(&mut connection)
        .await
        .map_err(unavailable)?;
    connection.close().await.map_err(unavailable)?;
    let (version, number, is_replica, connections_max, fsync, full_page_writes, commit) = row;
    let off = [("fsync", fsync), ("full_page_writes", full_page_writes)];
    Ok(DatabaseDiagnostics {
        version: format!("PostgreSQL {version}"),
        is_supported: is_supported(number),
        is_replica,
        weak: off
            .into_iter()
            .filter(|(_, value)| value != "on")
            .map(|(name, value)| format!("{name} = {value}"))
            .collect(),
        weak_for_others: weak_commit(&commit).into_iter().collect(),
        connections: Some((
            connections_max.try_into().unwrap_or_default(),
            POSTGRES_CONNECTIONS_MAX,
        )),
        migrations: Migrations::default(),
    })
}

const fn is_supported(version: i32) -> bool {
    version >= POSTGRES_VERSION_MIN
}

fn weak_commit(value: &str) -> Option<String> {
    (!DURABLE_COMMITS.contains(&value)).then(|| format!("synchronous_commit = {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_13_is_too_old() {
        assert!(!is_supported(130_023));
        assert!(is_supported(140_000));
    }

    #[test]
    fn a_schema_is_compared_by_the_names_of_its_migrations() {
        let fresh = Migrations::compare(&[]);
        assert_eq!(fresh.pending.len(), Migrator::migrations().len());
        let mut applied = fresh.pending.clone();
        let newest = applied.pop().unwrap();
        applied.push("m9999_of_a_later_release".to_owned());
        let compared = Migrations::compare(&applied);
        assert_eq!(compared.pending, [newest]);
        assert_eq!(compared.unknown, ["m9999_of_a_later_release"]);
    }
}
